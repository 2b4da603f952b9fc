import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Toasts } from './toasts.svelte';

const texts = (toasts: Toasts) => toasts.list.map((toast) => toast.text);

describe('notes at the edge of the window', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('leave after five seconds; a warning stays until it is closed', () => {
    const toasts = new Toasts();
    toasts.show('passing');
    toasts.warn('a new device');
    vi.advanceTimersByTime(5_000);
    expect(texts(toasts)).toEqual(['a new device']);
    toasts.dismiss(toasts.list[0]?.id ?? 0);
    expect(texts(toasts)).toEqual([]);
  });

  it('are few at once, and passing ones drive no warning away', () => {
    const toasts = new Toasts();
    for (const name of ['w1', 'w2', 'w3', 'w4']) toasts.warn(name);
    for (const name of ['p1', 'p2', 'p3', 'p4', 'p5']) toasts.show(name);
    expect(texts(toasts)).toEqual(['w2', 'w3', 'w4', 'p2', 'p3', 'p4', 'p5']);
  });
});
