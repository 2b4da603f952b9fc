import { describe, expect, it, vi } from 'vitest';
import { createFake, type Fake } from '../ipc/fake';
import { KEPT_MAX, PAGE, Timeline } from './timeline.svelte';

async function opened(history: number): Promise<{ shell: Fake; timeline: Timeline }> {
  const shell = createFake({ history });
  const timeline = new Timeline(shell, 'c1');
  await timeline.newest();
  return { shell, timeline };
}

const ids = (timeline: Timeline) => timeline.items.map((item) => item.type === 'message' && item.id);

describe('the window onto a conversation', () => {
  it('holds no more than it may while messages come in, and lets the oldest go', async () => {
    const { shell, timeline } = await opened(KEPT_MAX + PAGE);
    while (timeline.items.length < KEPT_MAX) await timeline.older();
    const first = ids(timeline)[0];
    timeline.following = true;
    for (let round = 0; round < 4; round += 1) {
      for (let each = 0; each < PAGE; each += 1) shell.receive('c1', `${round} ${each}`);
      await timeline.refresh();
      expect(timeline.items.length).toBeLessThanOrEqual(KEPT_MAX);
    }
    expect(timeline.items.at(-1)).toMatchObject({ text: `3 ${PAGE - 1}` });
    expect(timeline.atEnd).toBe(true);
    expect(timeline.atStart).toBe(false);
    expect(ids(timeline)).not.toContain(first);
  });

  it('keeps what a reader of older messages sees, and lets the newest go', async () => {
    const { shell, timeline } = await opened(KEPT_MAX);
    while (!timeline.atStart) await timeline.older();
    expect(timeline.items).toHaveLength(KEPT_MAX);
    timeline.following = false;
    const before = ids(timeline);
    for (let each = 0; each < 20; each += 1) shell.receive('c1', `${each}`);
    await timeline.refresh();
    expect(ids(timeline)).toEqual(before);
    expect(timeline.atEnd).toBe(false);
    await timeline.newer();
    expect(timeline.items.at(-1)).toMatchObject({ text: '19' });
    expect(timeline.items).toHaveLength(KEPT_MAX);
    expect(timeline.atStart).toBe(false);
  });

  it('stays where a message is first that the server has lost', async () => {
    const { shell, timeline } = await opened(200);
    await timeline.older();
    shell.lose('c1', 200);
    timeline.following = false;
    await timeline.refresh();
    const at = timeline.items.findIndex((item) => item.type === 'message' && item.lost);
    timeline.items = timeline.items.slice(at, at + PAGE);
    timeline.atEnd = false;
    const before = ids(timeline);
    await timeline.refresh();
    expect(ids(timeline)).toEqual(before);
  });

  it('stays at the end when more came at once than it reads at a time', async () => {
    const { shell, timeline } = await opened(60);
    for (let each = 0; each < 3 * PAGE; each += 1) shell.receive('c1', `${each}`);
    await timeline.refresh();
    expect(timeline.atEnd).toBe(true);
    expect(timeline.items.at(-1)).toMatchObject({ text: `${3 * PAGE - 1}` });
  });

  it('loses neither an older page nor a change when both come at once', async () => {
    const { shell, timeline } = await opened(200);
    const id = ids(timeline).at(-1) as string;
    await shell.pinMessage('c1', id, true);
    await Promise.all([timeline.older(), timeline.refresh(), timeline.older()]);
    expect(timeline.items).toHaveLength(2 * PAGE);
    expect(timeline.items.at(-1)).toMatchObject({ id, pinned: true });
  });

  it('goes on after the engine refused once', async () => {
    const { shell, timeline } = await opened(200);
    vi.spyOn(shell, 'timeline').mockRejectedValueOnce({ code: 'store_failed' });
    await expect(timeline.older()).rejects.toMatchObject({ code: 'store_failed' });
    await timeline.older();
    expect(timeline.items).toHaveLength(2 * PAGE);
  });

  it('moves the read marker forward only', async () => {
    const { shell, timeline } = await opened(20);
    const mark = vi.spyOn(shell, 'markRead');
    await timeline.seen(19);
    await timeline.seen(5);
    expect(mark.mock.calls).toEqual([['c1', 19]]);
  });
});
