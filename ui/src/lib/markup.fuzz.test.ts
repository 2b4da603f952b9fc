/**
 * Any text as a message (`cargo xtask fuzz`): reading it never fails, gives only the known kinds of parts, loses and adds
 * no character, and takes time in proportion to its length. A case is a seed, so a failure is played again by its number:
 * `KITH_FUZZ_SEED=n KITH_FUZZ_CASES=1 npm test src/lib/markup.fuzz.test.ts`.
 */
import { describe, expect, it } from 'vitest';
import { HOSTILE } from '../hostile';
import { findLinks } from './links';
import { blocks, plain, type Inline } from './markup';

declare const process: { env: Record<string, string | undefined> };

/** Cases that failed once. */
const FOUND: number[] = [];
const USUAL = 3_000;
const CHARS_MAX = 16_000;
const PIECES = [
  ...'*_`[]()<>&{}#|~-+.!?"\'\\/:@%=\n\r\t 019aZé日ע\u202e\u200b\u00a0\u0301\ufeff\u0000'.split(''),
  ...[
    '**',
    '***',
    '```',
    '```\n',
    '\n```\n',
    '> ',
    '\n> ',
    '- ',
    '\n- ',
    '1. ',
    '\n12) ',
    '](',
    '[a](',
    '](https://a.example)',
  ],
  ...[
    'https://',
    'https://example.org/a_b*c',
    'http://[::1]/',
    'mailto:a@b.example',
    'kith://start?with=ada',
    'javascript:',
  ],
  ...['https://a.example)', 'https://аpple.example', '👨‍👩‍👧', '\ud800', '\udc00', '<b>', '&lt;', 'word'],
];

/** The same numbers for the same seed (mulberry32). */
function generator(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

function textOf(seed: number): string {
  const below = generator(seed);
  const one = (all: string[]) => all[below(all.length)] ?? '';
  if (below(8) === 0) {
    // One or two pieces over and over: what is slow is slow then.
    const part = one(PIECES) + (below(2) === 0 ? one(PIECES) : '');
    return part.repeat(CHARS_MAX).slice(0, below(CHARS_MAX));
  }
  const count = below(10) === 0 ? below(4_000) : below(60);
  let text = below(6) === 0 ? one(HOSTILE) : '';
  for (let each = 0; each < count; each += 1) {
    const at = below(3) === 0 ? below(text.length + 1) : text.length;
    text = text.slice(0, at) + one(PIECES) + text.slice(at);
  }
  return text.slice(0, CHARS_MAX);
}

/** What a reader sees of the tree: its texts, one after the other. */
function seen(children: Inline[], depth = 0): string {
  expect(depth).toBeLessThanOrEqual(3);
  return children
    .map((each) => {
      switch (each.kind) {
        case 'text':
        case 'code':
          return each.text;
        case 'link': {
          const url = new URL(each.target.url);
          expect(['https:', 'http:', 'mailto:', 'kith:']).toContain(url.protocol);
          expect(url.username + url.password).toBe('');
          return each.text;
        }
        case 'bold':
        case 'italic':
          return seen(each.children, depth + 1);
        default:
          throw new Error(`an unknown part ${JSON.stringify(each)}`);
      }
    })
    .join('');
}

/** The letters of `less` stand in `more`, in their order. */
function isWithin(less: string, more: string): boolean {
  let at = 0;
  for (let each = 0; each < less.length; each += 1) {
    at = more.indexOf(less.charAt(each), at) + 1;
    if (at === 0) return false;
  }
  return true;
}

/** Without the signs of the markup and the numbers of lists, which are not drawn. */
const letters = (text: string) => text.replace(/[*_`>\-•\s\d.)]/g, '');

function check(text: string): void {
  const tree = blocks(text);
  const shown = tree
    .map((block) => {
      switch (block.kind) {
        case 'code':
          return block.text;
        case 'list':
          return block.items.map((item) => seen(item)).join('\n');
        case 'quote':
        case 'text':
          return seen(block.children);
        default:
          throw new Error(`an unknown block ${JSON.stringify(block)}`);
      }
    })
    .join('\n');
  expect(shown).toBe(plain(text));
  expect(isWithin(shown, text)).toBe(true);
  if (!text.includes('](') && !text.includes('```')) expect(letters(shown)).toBe(letters(text));
  let before = 0;
  for (const { from, to } of findLinks(text)) {
    expect(from).toBeGreaterThanOrEqual(before);
    expect(to).toBeGreaterThan(from);
    before = to;
  }
}

/** A case has 16,000 characters at most and takes milliseconds: this long means that its time grows faster than its text. */
const FAR_TOO_LONG_MS = 10_000;

function play(each: (seed: number) => void): number {
  const number = (name: string) => (process.env[name] ? Number(process.env[name]) : undefined);
  const first = number('KITH_FUZZ_SEED') ?? 1;
  const seconds = number('KITH_FUZZ_SECONDS');
  const until = seconds === undefined ? Infinity : Date.now() + seconds * 1_000;
  const cases = number('KITH_FUZZ_CASES') ?? (seconds === undefined ? USUAL : Infinity);
  const found = [...FOUND];
  let played = 0;
  for (let at = 0; at < cases + FOUND.length && Date.now() < until; at += 1) {
    const seed = found.shift() ?? first + played;
    const started = performance.now();
    try {
      each(seed);
      expect(performance.now() - started).toBeLessThan(FAR_TOO_LONG_MS);
    } catch (error) {
      console.error(`the failing case: KITH_FUZZ_SEED=${seed} KITH_FUZZ_CASES=1`);
      throw error;
    }
    played += 1;
  }
  console.log(`${played} cases from seed ${first}`);
  return played;
}

describe('any text as a message', () => {
  const minutes = (Number(process.env.KITH_FUZZ_SECONDS ?? 0) + 120) * 1_000;

  it('sec_062 fuzz: is read whole, into known parts', { timeout: minutes }, () => {
    expect(play((seed) => check(textOf(seed)))).toBeGreaterThan(0);
  });

  it('sec_062 fuzz: every hostile string is, too', () => HOSTILE.forEach(check));
});
