import { describe, expect, it } from 'vitest';
import type { PersonView } from './ipc/engine';
import cases from '../namesakes.json';
import { namesakes } from './namesakes';

const person = (id: string, display_name: string): PersonView => ({
  id,
  username: id,
  display_name,
  role: null,
  avatar: null,
});

describe('people who are called the same', () => {
  it('are those whose names look the same', () => {
    const people = [
      person('a', 'Bo Nilsson'),
      person('b', 'BO\u00a0 Nilsson\u200b'),
      person('c', '\uff22o Nilsson'),
      person('d', 'Bo Nilson'),
    ];
    expect([...namesakes(people)].sort()).toEqual(['a', 'b', 'c']);
  });

  // The same cases as the shell's, which names people in notifications.
  it.each(cases as [string, string, boolean][])('%j and %j: %s', (one, other, isAlike) => {
    expect(namesakes([person('a', one), person('b', other)]).size).toBe(isAlike ? 2 : 0);
  });

  it('are not one person who is seen twice', () => {
    expect(namesakes([person('a', 'Bo'), person('a', 'Bo')]).size).toBe(0);
  });
});
