import { screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { createFake } from './lib/ipc/fake';
import { Watched } from './lib/state/watched';
import { open, row, start } from './test-kit';

describe('whose presence is watched', () => {
  it('is that of the rows and of the open conversation', async () => {
    const shell = await start();
    const watch = vi.spyOn(shell, 'watchPresence');
    const list = await shell.conversations();
    const peers = list.filter(({ archive }) => !archive).flatMap(({ peer }) => peer?.id ?? []);
    expect(peers.length).toBeGreaterThan(1);
    await row('c1');
    await waitFor(() => expect(watch).toHaveBeenLastCalledWith([...peers].sort()));
    await open('c1');
    expect(screen.getByTestId('header-title').textContent).toBe('Bo Nilsson');
    expect(watch).toHaveBeenCalledTimes(1);
  });

  it('is told once for all changes, with the open one first, and never above 200', async () => {
    vi.useFakeTimers();
    const shell = createFake({ history: 1 });
    const watch = vi.spyOn(shell, 'watchPresence').mockResolvedValue(undefined);
    const watched = new Watched(shell);
    const ends = Array.from({ length: 300 }, (_, at) =>
      watched.row(document.createElement('button'), `p${String(at).padStart(3, '0')}`),
    );
    watched.open('z');
    await vi.advanceTimersByTimeAsync(500);
    expect(watch).toHaveBeenCalledTimes(1);
    expect(watch.mock.calls[0]?.[0]).toHaveLength(200);
    expect(watch.mock.calls[0]?.[0]).toContain('z');
    ends.slice(1).forEach((end) => end());
    await vi.advanceTimersByTimeAsync(500);
    expect(watch).toHaveBeenLastCalledWith(['p000', 'z']);
    watched.open(null);
    ends[0]?.();
    await vi.advanceTimersByTimeAsync(500);
    expect(watch).toHaveBeenLastCalledWith([]);
    vi.useRealTimers();
  });
});
