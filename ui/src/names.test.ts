import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import { addNamesakes, BO_TOO } from './lib/ipc/fake/namesakes';
import { open, row, start } from './test-kit';

describe('people who share a name', () => {
  it('are told apart in the list, in messages and in notices', async () => {
    await start({ fill: addNamesakes });
    await open('c8');
    const text = (element: Element | null | undefined) => element?.textContent?.replace(/\s+/g, ' ').trim();
    await waitFor(() =>
      expect(screen.getByText(/added/).textContent).toBe(
        `Bo Nilsson (@bo.nilsson) added Bo Nilsson (@${BO_TOO.username})`,
      ),
    );
    expect(screen.getAllByTestId('message-handle').map(text)).toContain(`@${BO_TOO.username}`);
    expect(text((await row('c8')).querySelector('[data-testid=conversation-preview]'))).toBe(
      `@${BO_TOO.username}: So am I.`,
    );
  });
});

describe('what a conversation is about', () => {
  it('is said in full in its details', async () => {
    const shell = await start();
    const title = 'A title that is longer than its place in the header';
    shell.alter('c1', { context: { kind: 'job', id: '7', title } });
    await open('c1');
    await waitFor(() => expect(screen.getByTestId('header-context').title).toBe(title));
    await fireEvent.click(screen.getByTestId('details-button'));
    expect((await screen.findByTestId('details-about')).textContent).toBe(`About ${title}`);
  });
});

describe('a new device', () => {
  it('is announced until the user has seen it, and its name turns no text around', async () => {
    const shell = await start();
    shell.tell({ type: 'problem', problem: { kind: 'new_device', name: 'tablet\u202e', is_copy: false } });
    const toast = await screen.findByTestId('toast');
    expect(toast.textContent).toContain('A new device signed in: tablet. Not you?');
  });
});
