/**
 * Every parser of what others write, at its worst input.
 *
 * Processor time is measured, not the clock: a busy machine is slow, not wrong. A text four times as long may take at
 * most eight times as long; what grows with the square takes sixteen times. And the longest message is read within 10 ms.
 */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { HOSTILE } from '../hostile';
import { best } from './find';
import { initials, names, tame } from './format';
import { doubtsOf, findLinks, isPlain, targetOf } from './links';
import { blocks, plain } from './markup';
import { kept } from './same';

declare const process: {
  cpuUsage(since?: { user: number; system: number }): { user: number; system: number };
  getBuiltinModule(name: 'node:url'): { URL: typeof URL };
};

const TEXT_CHARS_MAX = 16_000;
const LIMIT_MS = 10;
/** Between four, for work in proportion to the text, and sixteen, for work in proportion to its square. */
const GROWTH_MAX = 8;
/** Shorter work is repeated until it has taken so long. */
const MEASURED_MS = 1;
/** What else the process does is measured too, so the least of several counts. */
const TRIES = 40;

const repeated = (part: string, length: number) =>
  part.repeat(Math.ceil(length / part.length)).slice(0, length);

/** `before` and `part` over and over, together as long as an address may be, and that over and over. */
const runs = (before: string, part: string, after: string, length: number, whole = 2_047) =>
  repeated(before + repeated(part, whole - before.length - after.length) + after, length);

const PARTS = [
  ...'*_`[]()<>-+.!?:@%=#/\\&\n\r\t 0aé日ע'.split(''),
  ...[
    '\u202e',
    '\u200b',
    '\u0301',
    '\ufdfa',
    '\u1100',
    '\u{10ffff}',
    '👍',
    '&lt;',
    '<b>',
    ')(',
    '()',
    '])',
    'a.',
  ],
  ...[
    '**',
    '***',
    '****',
    '``',
    '```',
    '```\n',
    '> ',
    '- ',
    '1. ',
    '](',
    '[](',
    '[a](',
    '[a](b',
    '[a](b)',
    '`a',
  ],
  ...[
    '*a ',
    '**a *b _c ',
    '_a_ ',
    '> *a',
    '\n> ',
    '\n- ',
    '*_',
    '**_',
    'https://',
    'https://a',
    'https://a)',
  ],
  ...[
    'http://a(',
    '(https://a)_',
    'http://[::1]/',
    'mailto:',
    'kith://c/',
    'https://日.',
    'https://xn--a',
    'a@b ',
    ...['[a](https://[)', '- [a](https://[)\n', '- https://[\n', '> https://\n- ', '1. [a](https://日)\n'],
  ],
];
const BEFORE = [
  'https://',
  'https://a/',
  'mailto:a@',
  'kith://c/',
  'https://xn--',
  '[a](https://',
  '[a](https://a/',
];
const WITHIN = [
  ')',
  ']',
  '}',
  '.',
  '_',
  '*)',
  ')(',
  ']})',
  '日本語é',
  '\ufdfa',
  '\u{10ffff}',
  '%41',
  'a.',
  'xn--a.',
];
/** No two letters of a host are the same: the slowest to write as the resolver sees it. */
const DISTINCT = Array.from({ length: 1_900 }, (_, at) =>
  String.fromCodePoint(0x4e00 + ((at * 7_919) % 20_000)),
);

/** Texts that were slow or could be, each for any length. */
const WORST: [name: string, text: (length: number) => string][] = [
  ...PARTS.map((part): [string, (length: number) => string] => [
    JSON.stringify(part),
    (n) => repeated(part, n),
  ]),
  ...BEFORE.flatMap((before) =>
    WITHIN.flatMap((part): [string, (length: number) => string][] => [
      [`${before}${JSON.stringify(part)}…`, (n) => runs(before, part, before.startsWith('[') ? ')' : ' ', n)],
      [
        `${before}${JSON.stringify(part)}… short`,
        (n) => runs(before, part, before.startsWith('[') ? ')' : ' ', n, 250),
      ],
    ]),
  ),
  ['distinct letters', (n) => repeated(`https://${DISTINCT.join('')} `, n)],
  ['distinct letters, labelled', (n) => repeated(`[a](https://${DISTINCT.join('')})`, n)],
  ['a label without an end', (n) => repeated('[' + 'a'.repeat(199), n)],
  ['an address without an end', (n) => repeated('[a](' + 'b'.repeat(1_999), n)],
  [
    'words',
    (n) =>
      Array.from({ length: n / 4 }, (_, at) => at.toString(36).padStart(3, '0'))
        .join(' ')
        .slice(0, n),
  ],
];

const PARSERS: [name: string, read: (text: string) => unknown][] = [
  ['markup', blocks],
  ['plain text of lists and quotes', plain],
  ['links', findLinks],
  [
    'a link and its text',
    (text) => {
      const target = targetOf(text);
      return target && [isPlain(text, target), doubtsOf(text, target)];
    },
  ],
  ['finding names', (text) => best(text, [text, `${text}x`], (name) => [name])],
  ['initials', initials],
  ['names', (text) => names([tame(text), text, text])],
  [
    'entries that stay',
    (text) => kept([{ id: 1, text }], [{ id: 1, text: `${text}x` }], ({ id }) => String(id)),
  ],
];

/** Milliseconds of processor time that one call takes. */
function cost(read: (text: string) => unknown, text: string): number {
  const before = process.cpuUsage();
  for (let calls = 1; ; calls += 1) {
    read(text);
    const { user, system } = process.cpuUsage(before);
    const spent = (user + system) / 1_000;
    if (spent >= MEASURED_MS) return spent / calls;
  }
}

/** Measures until the fact holds; the last measure if it never does. */
function until(measure: () => number, holds: (value: number) => boolean): number {
  let value = measure();
  for (let again = 1; again < TRIES && !holds(value); again += 1) value = Math.min(value, measure());
  return value;
}

describe('the worst that a message can be', () => {
  // The URLs of jsdom are a script, those of a window are not.
  beforeAll(() => void vi.stubGlobal('URL', process.getBuiltinModule('node:url').URL));

  it.each(PARSERS)('is read within 10 ms: %s', { timeout: 300_000 }, (name, read) => {
    let worst: [ms: number, text: string] = [0, ''];
    const all = [...WORST.map(([what, text]): [string, string] => [what, text(TEXT_CHARS_MAX)])];
    for (const text of HOSTILE) all.push([text.slice(0, 40), text.slice(0, TEXT_CHARS_MAX)]);
    read(all[0]?.[1] ?? '');
    for (const [what, text] of all) {
      const ms = until(
        () => cost(read, text),
        (ms) => ms < LIMIT_MS,
      );
      if (ms > worst[0]) worst = [ms, what];
    }
    console.log(`${name}: ${worst[0].toFixed(2)} ms of processor time at worst, for ${worst[1]}`);
    expect(worst[0], worst[1]).toBeLessThan(LIMIT_MS);
  });

  it.each(PARSERS)('takes time in proportion to its length: %s', { timeout: 300_000 }, (_, read) => {
    // Within one address, and over many.
    for (const length of [500, 4_000]) {
      for (const [what, text] of WORST) {
        const [one, four] = [text(length), text(4 * length)];
        // What takes less is not measured well, and harms nobody.
        const growth = until(
          () => cost(read, four) / Math.max(cost(read, one), 0.02),
          (growth) => growth < GROWTH_MAX,
        );
        expect(growth, `${what}, ${length} characters`).toBeLessThan(GROWTH_MAX);
      }
    }
  });
});
