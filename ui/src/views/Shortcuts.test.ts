import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import { open, settled, start } from '../test-kit';

const key = (target: Element | Window, init: KeyboardEventInit) => fireEvent.keyDown(target, init);
const title = () => screen.queryByRole('dialog')?.querySelector('h2')?.textContent;

describe('the keyboard', () => {
  it('shows all keys with ?, and closes the list with Escape', async () => {
    await start();
    await key(window, { key: '?' });
    const dialog = await screen.findByRole('dialog');
    expect(title()).toBe('Keyboard shortcuts');
    const keys = [...dialog.querySelectorAll('kbd')].map((each) => each.textContent);
    expect(keys).toEqual(expect.arrayContaining(['Ctrl K', 'Ctrl F', 'Ctrl N', 'Shift Enter', 'Esc', '?']));
    await fireEvent(dialog, new Event('cancel', { cancelable: true }));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  });

  it('names the keys of the conversation list', async () => {
    await start();
    await key(window, { key: '?' });
    const dialog = await screen.findByRole('dialog');
    expect(dialog.textContent).toMatch(/↑ \/ ↓ in the conversation list\s*Move to the conversation/);
  });

  it('lets ? be written', async () => {
    await start();
    const area = await open('c1');
    await key(area, { key: '?' });
    await key(screen.getByTestId('search-input'), { key: '?' });
    await settled();
    expect(screen.queryByRole('dialog')).toBeNull();
  });

  it('starts chats and groups, opens settings and search', async () => {
    await start();
    await screen.findAllByTestId('conversation-row');
    await key(window, { key: 'n', ctrlKey: true });
    await waitFor(() => expect(title()).toBe('New chat'));
    await fireEvent(screen.getByRole('dialog'), new Event('cancel', { cancelable: true }));
    await key(window, { key: 'N', ctrlKey: true, shiftKey: true });
    await waitFor(() => expect(title()).toBe('New group'));
    await fireEvent(screen.getByRole('dialog'), new Event('cancel', { cancelable: true }));
    await key(window, { key: ',', ctrlKey: true });
    expect(await screen.findByTestId('settings-view')).toBeTruthy();
    await key(window, { key: 'Escape' });
    await waitFor(() => expect(screen.queryByTestId('settings-view')).toBeNull());
    await key(window, { key: 'f', ctrlKey: true });
    expect(document.activeElement).toBe(screen.getByTestId('search-input'));
  });

  it('does nothing behind an open dialog', async () => {
    await start();
    await key(window, { key: '?' });
    await key(window, { key: ',', ctrlKey: true });
    await key(window, { key: 'n', ctrlKey: true });
    await settled();
    expect(title()).toBe('Keyboard shortcuts');
    expect(screen.queryByTestId('settings-view')).toBeNull();
  });
});
