import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { start, write } from '../test-kit';

const input = () => screen.getByTestId('switcher-input') as HTMLInputElement;
const labels = () =>
  screen.queryAllByTestId('switcher-item').map((item) => item.querySelector('.label')?.textContent);
const active = () =>
  document.getElementById(input().getAttribute('aria-activedescendant') ?? '')?.querySelector('.label')
    ?.textContent;
const press = (key: string) => fireEvent.keyDown(input(), { key });

async function switcher() {
  const shell = await start();
  await screen.findAllByTestId('conversation-row');
  await fireEvent.keyDown(window, { key: 'k', ctrlKey: true });
  await screen.findByTestId('switcher-input');
  return shell;
}

describe('the quick switcher', () => {
  it('lists the conversations, the newest first, and goes to the one that is chosen', async () => {
    await switcher();
    expect(labels()).toHaveLength(5);
    expect(active()).toBe(labels()[0]);
    await press('ArrowDown');
    const wanted = active();
    expect(wanted).toBe(labels()[1]);
    await press('Enter');
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe(wanted));
    expect(screen.queryByRole('dialog')).toBeNull();
  });

  it('goes round at both ends', async () => {
    await switcher();
    await press('ArrowUp');
    expect(active()).toBe(labels().at(-1));
    await press('ArrowDown');
    expect(active()).toBe(labels()[0]);
  });

  it('filters by parts of names and begins at the best', async () => {
    await switcher();
    await press('ArrowDown');
    await write(input(), 'wolfe CLEO');
    expect(labels()).toEqual([expect.stringContaining('Cleo')]);
    expect(active()).toContain('Cleo');
    await write(input(), '花子');
    expect(labels()).toEqual(['山田 花子']);
    await write(input(), 'nothing like it');
    expect(labels()).toEqual([]);
    expect(screen.getByRole('dialog').textContent).toContain('Nothing has this name');
    await press('Enter');
    expect(screen.getByRole('dialog')).toBeTruthy();
  });

  it('finds people without a conversation and asks for the first message', async () => {
    const shell = await switcher();
    const begin = vi.spyOn(shell, 'startDirect');
    await write(input(), 'dana');
    await waitFor(() => expect(labels()).toEqual(['Dana']));
    await press('Enter');
    expect(await screen.findByTestId('first-message')).toBeTruthy();
    expect(begin).not.toHaveBeenCalled();
  });

  it('runs commands', async () => {
    await switcher();
    await write(input(), 'sett');
    await press('Enter');
    expect(await screen.findByTestId('settings-view')).toBeTruthy();
    expect(screen.queryByRole('dialog')).toBeNull();
  });

  it('closes with Escape and takes the mouse', async () => {
    await switcher();
    await fireEvent(screen.getByRole('dialog'), new Event('cancel', { cancelable: true }));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    await fireEvent.keyDown(window, { key: 'k', ctrlKey: true });
    await fireEvent.click((await screen.findAllByTestId('switcher-item'))[2] as HTMLElement);
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    expect(screen.getByTestId('header-title')).toBeTruthy();
  });
});
