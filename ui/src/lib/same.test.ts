import { describe, expect, it } from 'vitest';
import { kept } from './same';

describe('a list that is read again', () => {
  const keyOf = (entry: { id: string }) => entry.id;

  it('keeps the objects of what has not changed, in the new order', () => {
    const before = [
      { id: 'a', text: 'one', who: { name: 'Ada' } },
      { id: 'b', text: 'two', who: { name: 'Bo' } },
      { id: 'c', text: 'three', who: { name: 'Cleo' } },
    ];
    const now = [
      { id: 'c', text: 'three', who: { name: 'Cleo' } },
      { id: 'a', text: 'one', who: { name: 'Ada L.' } },
      { id: 'd', text: 'four', who: { name: 'Dana' } },
    ];
    const list = kept(before, now, keyOf);
    expect(list).toEqual(now);
    expect(list[0]).toBe(before[2]);
    expect(list[1]).toBe(now[1]);
    expect(list[2]).toBe(now[2]);
  });
});
