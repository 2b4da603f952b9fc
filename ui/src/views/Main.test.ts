import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { start, write } from '../test-kit';

const IDLE_MS = 300_000;

describe('the own presence', () => {
  beforeEach(() => void vi.useFakeTimers({ shouldAdvanceTime: true }));
  afterEach(() => void vi.useRealTimers());

  async function watched() {
    let told: string[] = [];
    await start({ locked: true }, (shell) => {
      vi.spyOn(shell, 'setPresence').mockImplementation(async (state) => void told.push(state));
    });
    return { told: () => told, forget: () => (told = []) };
  }

  async function unlock() {
    await write(await screen.findByTestId('unlock-passphrase'), 'correct horse battery');
    await fireEvent.click(screen.getByTestId('unlock-submit'));
    await screen.findAllByTestId('conversation-row');
  }

  it('is away after five minutes without a key or a move, and online with the next', async () => {
    const { told } = await watched();
    await unlock();
    expect(told()).toEqual(['online']);
    await vi.advanceTimersByTimeAsync(IDLE_MS);
    expect(told()).toEqual(['online', 'away']);
    await fireEvent.pointerMove(window);
    expect(told()).toEqual(['online', 'away', 'online']);
  });

  it('does not follow the time before a lock, and is online again after it', async () => {
    const { told, forget } = await watched();
    await unlock();
    await fireEvent.keyDown(window, { key: 'l', ctrlKey: true });
    await screen.findByTestId('unlock-passphrase');
    forget();
    await vi.advanceTimersByTimeAsync(IDLE_MS);
    expect(told()).toEqual([]);
    await unlock();
    await waitFor(() => expect(told()).toEqual(['online']));
  });
});
