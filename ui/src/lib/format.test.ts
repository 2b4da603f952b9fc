import { describe, expect, it } from 'vitest';
import { colourOf, count, day, dayWithin, initials, names, shortened, typing } from './format';

describe('texts', () => {
  it('makes initials of any name', () => {
    expect(initials('Ada Lovelace')).toBe('AL');
    expect(initials('  bo ')).toBe('B');
    expect(initials('李 小龙')).toBe('李小');
    expect(initials('')).toBe('?');
  });

  it('names people shortly', () => {
    expect(names(['a', 'b'])).toBe('a and b');
    expect(names(['a', 'b', 'c', 'd'])).toBe('a, b and 2 others');
  });

  it('says who is typing, and shortens what would leave no room', () => {
    expect(typing(['a'])).toBe('a is typing…');
    expect(typing(['a', 'b'])).toBe('a and b are typing…');
    expect(shortened('Bo Nilsson')).toBe('Bo Nilsson');
    expect(shortened('Maximiliane Featherstone')).toBe('Maximiliane Feather…');
  });

  it('keeps numbers short and colours stable', () => {
    expect(count(99)).toBe('99');
    expect(count(100)).toBe('99+');
    expect(colourOf('x')).toBe(colourOf('x'));
  });
});

describe('days', () => {
  const now = new Date(2026, 10, 21, 12).getTime();
  it('names days as people do', () => {
    expect(day(now, now)).toBe('Today');
    expect(day(new Date(2026, 10, 20, 23).getTime(), now)).toBe('Yesterday');
    expect(dayWithin(new Date(2026, 10, 20, 23).getTime(), now)).toBe('yesterday');
    expect(dayWithin(new Date(2026, 10, 18).getTime(), now)).toBe(day(new Date(2026, 10, 18).getTime(), now));
    expect(day(new Date(2024, 4, 3).getTime(), now)).toContain('2024');
  });
});
