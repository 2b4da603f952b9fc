import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ConversationView, PersonView } from '../../lib/ipc/engine';
import { DANA } from '../../lib/ipc/fake/people';
import {
  ROW_PX,
  VIEW_PX,
  attend,
  layOut,
  message,
  open,
  row,
  scrollTo,
  settled,
  start,
} from '../../test-kit';

const entries = () => [...document.querySelectorAll<HTMLElement>('[data-order]')];
const box = () => screen.getByTestId('timeline');
/** The first entry that is in view, and where its top is. */
function place(): [string | undefined, number] {
  const found = entries().find((each) => each.getBoundingClientRect().bottom > 0);
  return [found?.dataset.order, found?.getBoundingClientRect().top ?? NaN];
}

/** Opens the long conversation and goes up in it, after an older page was read. */
async function readOlder(top: number): Promise<void> {
  await open('c1');
  await settled();
  await scrollTo(0);
  await scrollTo(top);
}

beforeEach(() => {
  layOut();
  attend(true);
});

describe('the place in a timeline', () => {
  it('is kept when older pages are put in front', async () => {
    await start({ history: 200 });
    await open('c1');
    await settled();
    const before = entries().length;
    const third = entries()[2]?.dataset.order;
    await scrollTo(ROW_PX * 2 + 15);
    expect(entries().length).toBeGreaterThan(before);
    expect(place()).toEqual([third, -15]);
  });

  it('is kept for a reader of older messages when another one comes', async () => {
    const shell = await start({ history: 200 });
    await readOlder(ROW_PX * 20 + 7);
    const seen = place();
    shell.receive('c1', 'the newest');
    await message('the newest');
    expect(place()).toEqual(seen);
    expect(screen.getByTestId('jump-to-bottom')).toBeTruthy();
  });

  it('is kept while another view is shown', async () => {
    await start({ history: 200 });
    await readOlder(ROW_PX * 20 + 7);
    const seen = place();
    await fireEvent.click(screen.getByTestId('settings-button'));
    await fireEvent.click(await screen.findByRole('button', { name: 'Back' }));
    await screen.findAllByTestId('message');
    await settled();
    expect(place()).toEqual(seen);
  });

  it('is the end for who is at the end, and the button there goes away', async () => {
    const shell = await start({ history: 200 });
    await readOlder(ROW_PX * 20);
    await fireEvent.click(screen.getByTestId('jump-to-bottom'));
    await settled();
    expect(screen.queryByTestId('jump-to-bottom')).toBeNull();
    shell.receive('c1', 'the newest');
    await message('the newest');
    await settled();
    expect(box().scrollTop).toBe(entries().length * ROW_PX - VIEW_PX);
    expect(screen.queryByTestId('jump-to-bottom')).toBeNull();
  });
});

describe('reading', () => {
  async function unreadInView(isFocused: boolean, visibility?: DocumentVisibilityState) {
    attend(isFocused, visibility);
    const shell = await start();
    const mark = vi.spyOn(shell, 'markRead');
    await open('c2');
    shell.receive('c2', 'look at me');
    await message('look at me');
    await settled();
    return { shell, mark };
  }

  it('R3: marks what is in view in a window that has the focus', async () => {
    const { mark } = await unreadInView(true);
    expect(mark).toHaveBeenLastCalledWith('c2', 4);
  });

  it('waits for the focus', async () => {
    const { mark } = await unreadInView(false);
    expect(mark).not.toHaveBeenCalled();
    attend(true);
    await fireEvent.focus(window);
    await waitFor(() => expect(mark).toHaveBeenLastCalledWith('c2', 4));
  });

  it('waits until the window is visible', async () => {
    const { mark } = await unreadInView(true, 'hidden');
    expect(mark).not.toHaveBeenCalled();
    attend(true);
    await fireEvent(document, new Event('visibilitychange'));
    await waitFor(() => expect(mark).toHaveBeenLastCalledWith('c2', 4));
  });

  it.each([true, false])('R3: reads nothing behind a locked screen (window told: %s)', async (isHeard) => {
    const shell = await start();
    attend(true);
    const mark = vi.spyOn(shell, 'markRead');
    await open('c2');
    await settled();
    mark.mockClear();
    shell.lockScreen(true, isHeard);
    shell.receive('c2', 'behind the lock');
    await message('behind the lock');
    await settled();
    expect((await shell.conversation('c2')).conversation.unread).toBe(1);
    if (isHeard) expect(mark).not.toHaveBeenCalled();
    shell.lockScreen(true);
    shell.lockScreen(false);
    await waitFor(async () => expect((await shell.conversation('c2')).conversation.unread).toBe(0));
    expect(screen.queryAllByTestId('toast')).toEqual([]);
  });

  it('leaves out what is below the view until it is scrolled to', async () => {
    const shell = await start({ history: 200 });
    await readOlder(ROW_PX * 20);
    const mark = vi.spyOn(shell, 'markRead');
    shell.receive('c1', 'far below');
    await message('far below');
    await settled();
    expect(mark.mock.calls.filter(([, seq]) => seq === 201)).toEqual([]);
    await scrollTo(1e6);
    expect(mark).toHaveBeenLastCalledWith('c1', 201);
  });
});

describe('the line before new messages', () => {
  it('stands before the first unread message and stays until the conversation is left', async () => {
    const shell = await start();
    shell.receive('c2', 'first new');
    shell.receive('c2', 'second new');
    await waitFor(async () => expect((await row('c2')).dataset.unread).toBe('2'));
    await open('c2');
    const divider = await screen.findByTestId('new-divider');
    const after = divider.nextElementSibling?.querySelector('[data-testid=message-text]');
    expect(after?.textContent).toBe('first new');
    await waitFor(async () => expect((await row('c2')).dataset.unread).toBe('0'));
    expect(screen.getByTestId('new-divider')).toBeTruthy();
    await open('c3');
    await open('c2');
    await settled();
    expect(screen.queryByTestId('new-divider')).toBeNull();
  });

  it('is what the view opens at, however much is unread', async () => {
    const shell = await start({ history: 200 });
    for (let each = 0; each < 30; each += 1) shell.receive('c1', `${each}`);
    await waitFor(async () => expect((await row('c1')).dataset.unread).toBe('32'));
    await open('c1');
    await settled();
    expect(screen.getByTestId('new-divider').getBoundingClientRect().top).toBe(80);
    expect((await row('c1')).dataset.unread).not.toBe('0');
  });
});

describe('typing', () => {
  it('is shown in the list, in the header and at the end, and is gone when it ended', async () => {
    const shell = await start();
    await open('c5');
    shell.type('c5', DANA);
    expect((await screen.findByTestId('typing')).textContent).toMatch(/Dana\s+is typing…/);
    expect(screen.getByTestId('header-presence').textContent).toBe('Dana is typing…');
    expect((await row('c5')).textContent).toContain('typing…');
    shell.type('c5');
    await waitFor(() => expect(screen.queryByTestId('typing')).toBeNull());
    expect(screen.getByTestId('header-presence').textContent).toContain('members');
    expect((await row('c5')).textContent).not.toContain('typing…');
  });
});

describe('what is not downloaded', () => {
  it.each([
    [7, '1 earlier message is not downloaded yet.'],
    [9, '3 earlier messages are not downloaded yet.'],
  ])('from 7 to %i is counted: %s', async (to, text) => {
    await start({ fill: (world) => world.row('c2').items.unshift({ type: 'gap', order: 0.5, from: 7, to }) });
    await open('c2');
    expect((await screen.findByTestId('gap')).textContent.trim()).toBe(text);
  });
});

describe("the header's second line", () => {
  it('is not there while nothing is known of the person', async () => {
    const shell = await start();
    await open('c1');
    const row = (await shell.conversations()).find(({ id }) => id === 'c1') as ConversationView;
    const peer = { ...(row.peer as PersonView), role: null };
    expect(screen.queryByTestId('header-presence')).not.toBeNull();
    shell.alter('c1', { presence: null, peer });
    await waitFor(() => expect(screen.queryByTestId('header-presence')).toBeNull());
    expect(screen.getByTestId('header-title')).toBeTruthy();
  });
});
