import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { open, start, texts, write } from '../../test-kit';

describe('the composer', () => {
  it('000-14: sends with Enter, not with Shift+Enter, and never nothing', async () => {
    const shell = await start();
    const send = vi.spyOn(shell, 'sendMessage');
    const area = await open('c1');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await write(area, '   ');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await write(area, 'line one');
    await fireEvent.keyDown(area, { key: 'Enter', shiftKey: true });
    expect(send).not.toHaveBeenCalled();
    await fireEvent.keyDown(area, { key: 'Enter' });
    await waitFor(() => expect(texts()).toContain('line one'));
    expect(send).toHaveBeenCalledTimes(1);
    expect(area.value).toBe('');
  });

  it('leaves the Enter that ends a composition to the input method', async () => {
    const shell = await start();
    const send = vi.spyOn(shell, 'sendMessage');
    const area = await open('c3');
    await write(area, 'にほん');
    await fireEvent.keyDown(area, { key: 'Enter', isComposing: true });
    expect(send).not.toHaveBeenCalled();
  });

  it('sends with the button, which is off while there is nothing to send', async () => {
    await start();
    const area = await open('c1');
    const button = screen.getByTestId('composer-send') as HTMLButtonElement;
    expect(button.disabled).toBe(true);
    await write(area, 'by the button');
    expect(button.disabled).toBe(false);
    await fireEvent.click(button);
    await waitFor(() => expect(texts()).toContain('by the button'));
  });

  it('000-14: shows the limit and refuses what is longer', async () => {
    const shell = await start();
    const send = vi.spyOn(shell, 'sendMessage');
    const area = await open('c1');
    await write(area, 'x'.repeat(15_400));
    expect(document.querySelector('.count')).toBeNull();
    await write(area, '👍'.repeat(16_000));
    expect(document.querySelector('.count')?.textContent).toBe('0');
    expect((screen.getByTestId('composer-send') as HTMLButtonElement).disabled).toBe(false);
    await write(area, '👍'.repeat(16_001));
    await fireEvent.keyDown(area, { key: 'Enter' });
    expect(send).not.toHaveBeenCalled();
    expect(document.querySelector('.over')?.textContent).toContain('-1');
  });

  it('O1: keeps the text and says so when it cannot be stored', async () => {
    await start({ failing: { sendMessage: 'disk_full' } });
    const area = await open('c1');
    await write(area, 'do not lose me');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await waitFor(() => expect(screen.getByTestId('composer-error').textContent).toContain('disk is full'));
    expect(area.value).toBe('do not lose me');
  });

  it('R5: tells of typing, and that it ended when nothing is left or it was sent', async () => {
    const shell = await start();
    const typing = vi.spyOn(shell, 'setTyping');
    const area = await open('c1');
    await write(area, 'h');
    expect(typing).toHaveBeenLastCalledWith('c1', true);
    await write(area, '');
    expect(typing).toHaveBeenLastCalledWith('c1', false);
    await write(area, 'hello');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await waitFor(() => expect(typing).toHaveBeenLastCalledWith('c1', false));
  });

  it('edits the last own message with the up arrow and gives back what was written', async () => {
    const shell = await start();
    const area = await open('c2');
    await fireEvent.keyDown(area, { key: 'ArrowUp' });
    expect(area.value).not.toBe('');
    await write(area, 'better words');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await waitFor(() => expect(texts()).toContain('better words'));
    expect((await shell.timeline('c2', { at: 'newest' }, 50)).items.length).toBe(3);
  });
});

describe('drafts', () => {
  it('A25: are kept for each conversation', async () => {
    const shell = await start();
    const area = await open('c1');
    await write(area, 'half a thought');
    await open('c2');
    await waitFor(async () =>
      expect((await shell.conversations()).find((row) => row.id === 'c1')?.draft).toBe('half a thought'),
    );
    expect((await open('c1')).value).toBe('half a thought');
  });

  it('come from another device while nothing is written here, and never over what is', async () => {
    const shell = await start();
    const area = await open('c1');
    await shell.setDraft('c1', 'from the laptop');
    await waitFor(() => expect(area.value).toBe('from the laptop'));
    await write(area, 'mine');
    await shell.setDraft('c1', 'from the laptop again');
    await waitFor(async () =>
      expect((await shell.conversations()).find((row) => row.id === 'c1')?.draft).toContain('again'),
    );
    expect(area.value).toBe('mine');
  });

  async function clashing() {
    const shell = await start();
    const keep = vi.spyOn(shell, 'keepDraft');
    const area = await open('c1');
    await write(area, 'mine');
    shell.clash('c1', 'theirs');
    const banner = await screen.findByTestId('draft-conflict');
    expect(banner.textContent).toContain('theirs');
    expect(area.value).toBe('mine');
    const choose = (name: string) => fireEvent.click(screen.getByRole('button', { name }));
    const gone = () => waitFor(() => expect(screen.queryByTestId('draft-conflict')).toBeNull());
    return { shell, area, keep, choose, gone };
  }

  it.each([
    ['Keep mine', 'mine'],
    ['Take that', 'theirs'],
    ['Both', 'mine\ntheirs'],
  ])('A26: of two devices are both shown; "%s" leaves one of them', async (name, kept) => {
    const { area, keep, choose, gone } = await clashing();
    await choose(name);
    await gone();
    expect(area.value).toBe(kept);
    expect(keep).toHaveBeenCalledWith('c1', kept);
  });

  it('A26: that were chosen between still follow the other device', async () => {
    const { shell, area, choose, gone } = await clashing();
    await choose('Take that');
    await gone();
    await shell.setDraft('c1', 'written on');
    await waitFor(() => expect(area.value).toBe('written on'));
  });

  it('A26: are not asked about within an edit', async () => {
    const { area, shell, choose } = await clashing();
    await choose('Take that');
    await write(area, '');
    await fireEvent.keyDown(area, { key: 'ArrowUp' });
    shell.clash('c1', 'once more');
    await waitFor(async () => expect((await shell.conversations())[0]?.draft_conflict).toBe('once more'));
    expect(screen.queryByTestId('draft-conflict')).toBeNull();
    await fireEvent.keyDown(area, { key: 'Escape' });
    expect(await screen.findByTestId('draft-conflict')).toBeTruthy();
  });
});

describe('emoji', () => {
  const picker = () => screen.queryByTestId('emoji-picker');

  async function picking() {
    await start();
    const area = await open('c1');
    await write(area, 'ab');
    area.setSelectionRange(1, 1);
    await fireEvent.click(screen.getByRole('button', { name: 'Insert an emoji' }));
    await screen.findByTestId('emoji-picker');
    return area;
  }

  it('are chosen with the keyboard and put where the writer is', async () => {
    const area = await picking();
    expect(document.activeElement?.textContent).toBe('😀');
    await fireEvent.keyDown(document.activeElement as Element, { key: 'ArrowDown' });
    await fireEvent.click(document.activeElement as Element);
    expect(area.value).toBe('a👎b');
    expect(picker()).toBeNull();
    expect(document.activeElement).toBe(area);
  });

  it('are left with Escape or by a click elsewhere', async () => {
    const area = await picking();
    await fireEvent.keyDown(document.activeElement as Element, { key: 'Escape' });
    expect(picker()).toBeNull();
    expect(document.activeElement).toBe(area);
    await fireEvent.click(screen.getByRole('button', { name: 'Insert an emoji' }));
    await fireEvent.mouseDown(screen.getByTestId('timeline'));
    expect(picker()).toBeNull();
    expect(area.value).toBe('ab');
  });
});
