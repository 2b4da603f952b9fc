import { describe, expect, it } from 'vitest';
import { colourOf, count, day, initials, names, parts } from './format';

describe('texts', () => {
  it('finds links and leaves everything else as it is', () => {
    expect(parts('see https://example.org/a?b=1. Or not')).toEqual([
      { kind: 'text', text: 'see ' },
      {
        kind: 'link',
        text: 'https://example.org/a?b=1',
        url: 'https://example.org/a?b=1',
        host: 'example.org',
      },
      { kind: 'text', text: '. Or not' },
    ]);
    expect(parts('<b>javascript:alert(1)</b> file:///etc')).toEqual([
      { kind: 'text', text: '<b>javascript:alert(1)</b> file:///etc' },
    ]);
  });

  it('shows the host that a disguised link really leads to', () => {
    const [link] = parts('https://bank.example@evil.example/');
    expect(link).toMatchObject({ kind: 'link', host: 'evil.example' });
    const [cyrillic] = parts('https://аpple.example/');
    expect(cyrillic).toMatchObject({ kind: 'link', host: expect.stringMatching(/^xn--/) });
  });

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
    expect(day(new Date(2024, 4, 3).getTime(), now)).toContain('2024');
  });
});
