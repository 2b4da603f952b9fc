import { render, screen } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import type { SendState } from '../../lib/ipc/engine';
import Tick from './Tick.svelte';

function drawn(state: SendState): string {
  const { unmount } = render(Tick, { state });
  const shape = [...screen.getByRole('img').querySelectorAll('*')]
    .map((each) => `${each.nodeName} ${each.getAttribute('class')} ${each.getAttribute('d')}`)
    .join();
  unmount();
  return shape;
}

describe('a tick', () => {
  it('differs by its shape, not its colour alone, between what was sent, delivered and read', () => {
    const shapes = (['sent', 'delivered', 'read'] as const).map((state) => drawn({ state }));
    expect(new Set(shapes).size).toBe(3);
    expect(shapes.map((shape) => shape.includes('filled'))).toEqual([false, false, true]);
  });
});
