import { describe, expect, it } from 'vitest';
import { blocks, inline, plain, plainParts, type Inline } from './markup';

/** A short way to write a tree down: `b(bold) i(italic) c(code) a(link)`. */
function drawn(children: Inline[]): string {
  return children
    .map((each) => {
      if (each.kind === 'text') return each.text;
      if (each.kind === 'code') return `c(${each.text})`;
      return each.kind === 'link' ? `a(${each.text})` : `${each.kind.charAt(0)}(${drawn(each.children)})`;
    })
    .join('');
}

describe('the markup within a line', () => {
  it.each([
    ['plain', 'plain'],
    ['**bold** and *italic* and _italic_', 'b(bold) and i(italic) and i(italic)'],
    ['**bold with _italic_ in it**', 'b(bold with i(italic) in it)'],
    ['***both***', 'b(i(both))'],
    ['太**字**です', '太b(字)です'],
    ['a `**not bold**` b', 'a c(**not bold**) b'],
    ['**https://example.org/a_b_c**', 'b(a(https://example.org/a_b_c))'],
    ['[here](https://example.org) *now*', 'a(here) i(now)'],
    ['`https://example.org`', 'c(https://example.org)'],
  ])('%s', (text, tree) => {
    expect(drawn(inline(text))).toBe(tree);
  });

  it.each([
    '2 * 3 * 4',
    '2*3*4',
    'a_name_with_parts and __init__',
    '^_^ hello ^_^',
    '** not bold **',
    '**open',
    'closed**',
    '*a **b',
    '`open',
    '``',
    '****',
    '* * *',
    '[x](javascript:alert(1))',
    '[x](data:text/html,y)',
    '![',
  ])('leaves "%s" as it is', (text) => {
    expect(inline(text)).toEqual([{ kind: 'text', text }]);
  });

  it('ends what is inside when the outside ends', () => {
    expect(drawn(inline('**a *b** c*'))).toBe('b(a *b) c*');
  });
});

describe('the markup of lines', () => {
  const kinds = (text: string) => blocks(text).map((each) => each.kind);

  it('keeps plain lines together as they were written', () => {
    expect(blocks('one\n\n two\n')).toEqual([
      { kind: 'text', children: [{ kind: 'text', text: 'one\n\n two\n' }] },
    ]);
  });

  it('knows quotes, lists, numbers and code', () => {
    expect(kinds('a\n> b\n> c\nd')).toEqual(['text', 'quote', 'text']);
    expect(blocks('- a\n- **b**\n3. c\n4. d')).toMatchObject([
      { kind: 'list', start: null, items: [[{ text: 'a' }], [{ kind: 'bold' }]] },
      { kind: 'list', start: 3, items: [[{ text: 'c' }], [{ text: 'd' }]] },
    ]);
    expect(blocks('```rust\nlet a = *b;\n> c\n```\nafter')).toMatchObject([
      { kind: 'code', text: 'let a = *b;\n> c' },
      { kind: 'text' },
    ]);
    expect(kinds('```\na\n```\n```\nb\n```')).toEqual(['code', 'code']);
  });

  it('takes nothing for it that is not', () => {
    for (const text of ['```\nno end', '-1', '- ', '>:(', '2026. A year', '#1 is *ours', '1.5 l']) {
      expect(blocks(text), text).toEqual([{ kind: 'text', children: [{ kind: 'text', text }] }]);
    }
  });
});

describe('the text without the signs', () => {
  it('reads as it is meant', () => {
    expect(plain('**Yes**, _on_ `Tuesday`: https://example.org/a_b')).toBe(
      'Yes, on Tuesday: https://example.org/a_b',
    );
    expect(plain('> quoted\nanswer\n- one\n- two\n```\ncode\n```')).toBe('quoted\nanswer\none\ntwo\ncode');
    expect(plain('[here](https://example.org)')).toBe('here');
  });
});

// How long they take, `worst.test.ts` measures.
describe('the worst texts are read whole and nest no deeper than three', () => {
  const LENGTH = 16_000;
  it.each([
    '*',
    '_',
    '**',
    '`',
    '[',
    '](',
    '*_',
    '**_',
    '*a ',
    '**a *b _c ',
    '`a',
    '[a](',
    '[a](b',
    '> ',
    '- ',
    '```\n',
    '1. ',
    '\n',
    'https://',
    'https://a',
    ')',
    'https://a)',
    'http://a(',
    '(https://a)_',
    'mailto:',
    '\u202e',
    '\u200b',
    '*\u0301',
    '<b>',
    '&lt;',
    '***',
    '**a** ',
    '_a_ ',
    '> *a',
    '[](',
    'kith://c/',
    '👍*',
    '日**本',
    '\\',
    '!',
  ])('%j over and over', (part) => {
    const text = part.repeat(Math.ceil(LENGTH / part.length)).slice(0, LENGTH);
    const read = blocks(text);
    expect(JSON.stringify(read).length).toBeGreaterThan(2);
    const depth = (children: Inline[]): number =>
      Math.max(0, ...children.map((each) => ('children' in each ? 1 + depth(each.children) : 0)));
    for (const each of read) if ('children' in each) expect(depth(each.children)).toBeLessThanOrEqual(3);
  });
});

describe('a search hit', () => {
  /** `[…]` stands for a hit. */
  const read = (text: string) =>
    text.split(/[[\]]/).flatMap((each, at) => (each ? [{ text: each, hit: at % 2 === 1 }] : []));
  const shown = (text: string) =>
    plainParts(read(text))
      .map((part) => (part.hit ? `[${part.text}]` : part.text))
      .join('');

  it.each([
    ['no signs, [one] hit', 'no signs, [one] hit'],
    ['*[bold]* and _an [other]_', '[bold] and an [other]'],
    ['…**so [it] is** …', '…so [it] is …'],
    ['within wo[rd]s and `co[de]`', 'within wo[rd]s and co[de]'],
    ['2 * 3 [is] 6 * 1', '2 * 3 [is] 6 * 1'],
    ['- [first] of a list', '[first] of a list'],
    ['a hit on [**] itself', 'a hit on [**] itself'],
    ['\ufdd0not a mark, [one]', 'not a mark, [one]'],
  ])('%j is shown as %j', (text, expected) => expect(shown(text)).toBe(expected));

  it('only in an address that is not shown leaves the text as it is', () => {
    const parts = [
      { text: '[label](https://example.org/', hit: false },
      { text: 'plan', hit: true },
      { text: ')', hit: false },
    ];
    expect(plainParts(parts)).toEqual(parts);
  });
});
