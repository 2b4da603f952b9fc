import { screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { attend, open, row, start, write } from '../../test-kit';

const tick = (element: HTMLElement) => element.querySelector('.tick');
const badge = (element: HTMLElement) => element.querySelector('[data-testid=unread-badge]');
const preview = (element: HTMLElement) =>
  element.querySelector('[data-testid=conversation-preview]')?.textContent?.trim();

describe("a conversation's row", () => {
  it('shows the tick of the last own message, but never beside unread ones', async () => {
    attend(false);
    const shell = await start();
    shell.receive('c3', 'unread');
    await shell.sendMessage('c3', 'written elsewhere', null);
    await waitFor(async () => expect(badge(await row('c3'))?.textContent).toContain('1'));
    expect(preview(await row('c3'))).toContain('written elsewhere');
    expect(tick(await row('c3'))).toBeNull();
    await shell.markRead('c3', 7);
    await waitFor(async () => expect(badge(await row('c3'))).toBeNull());
    expect(tick(await row('c3'))?.ariaLabel).toBe('Sent');
  });

  it('shows a draft in place of the last message, except in the one that is open', async () => {
    await start();
    expect(preview(await row('c5'))).toMatch(/^Draft:\s+I will bring the$/);
    await open('c5');
    await waitFor(async () => expect(preview(await row('c5'))).not.toContain('Draft'));
  });

  it('names the group, the writer and a deleted message', async () => {
    const shell = await start();
    await shell.setDraft('c5', '');
    const view = await shell.timeline('c5', { at: 'newest' }, 2);
    const last = view.items.find((item) => item.type === 'message');
    await waitFor(async () => expect(preview(await row('c5'))).toMatch(/^You:/));
    await shell.deleteMessage('c5', last?.type === 'message' ? last.id : '');
    await waitFor(async () => expect(preview(await row('c5'))).toMatch(/Message deleted$/));
  });

  it('moves to the top with a new message and keeps the selection', async () => {
    const shell = await start();
    await open('c1');
    shell.receive('c4', 'up');
    await waitFor(() => expect(screen.getAllByTestId('conversation-row')[0]?.dataset.id).toBe('c4'));
    expect(
      document.querySelector('[data-testid=conversation-row][aria-current]')?.getAttribute('data-id'),
    ).toBe('c1');
  });

  it('is reached with Alt and the arrow keys, and none is left out', async () => {
    const shell = await start();
    const area = await open('c1');
    const focus = vi.spyOn(shell, 'setFocus');
    await write(area, 'a draft stays');
    area.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', altKey: true, bubbles: true }));
    const order = screen.getAllByTestId('conversation-row').map((each) => each.dataset.id);
    const next = order[Math.min(order.indexOf('c1') + 1, order.length - 1)];
    await waitFor(() => expect(focus).toHaveBeenLastCalledWith([next]));
  });
});
