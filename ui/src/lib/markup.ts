/**
 * The small, fixed markup of messages: **bold**, *italic* or _italic_, `code`, links, > quotes, - lists and ``` blocks.
 *
 * It is read into a tree that components draw as text nodes. Reading takes time in proportion to the text whatever it
 * contains: every delimiter is put on the stack and taken off once, nothing nests deeper than three, and only so many
 * addresses are looked at.
 */
import type { SnippetPart } from './ipc/engine';
import { budget, findLinks, targetOf, type Budget, type FoundLink, type LinkTarget } from './links';

export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'link'; text: string; target: LinkTarget }
  | { kind: 'bold'; children: Inline[] }
  | { kind: 'italic'; children: Inline[] };

export type Block =
  | { kind: 'text'; children: Inline[] }
  | { kind: 'code'; text: string }
  | { kind: 'quote'; children: Inline[] }
  | { kind: 'list'; start: number | null; items: Inline[][] };

type Sign = '**' | '*' | '_';
type Piece = Inline | { kind: 'sign'; sign: Sign; opens: boolean; closes: boolean };

const LABELLED = /\[([^[\]\n]{1,200})\]\(([^\s()]{1,2000})\)/y;
const RUNS = /\*+|_+|`+|\[(?=[^[\]\n])/g;
/** What may stand before `*` or `_` that opens, and after one that closes. */
const BEFORE = /[\s([{"'“‘«„¿¡—–\-*_]/;
const AFTER = /[\s.,;:!?…)\]}"'”’»“—–\-*_]/;

const isSpace = (letter: string | undefined) => letter === undefined || /\s/.test(letter);

/** `**` may stand within a word, as scripts without spaces need it; `*` and `_` may not: `a_name`, `2*3*4`, `^_^`. */
function signs(text: string, at: number, run: string): Piece[] {
  if (run !== '***' && run !== '**' && run !== '*' && run !== '_') return [];
  const before = text[at - 1];
  const after = text[at + run.length];
  const sign = (sign: Sign): Piece => ({
    kind: 'sign',
    sign,
    opens: !isSpace(after) && (sign === '**' || before === undefined || BEFORE.test(before)),
    closes: !isSpace(before) && (sign === '**' || after === undefined || AFTER.test(after)),
  });
  if (run === '***') return isSpace(before) ? [sign('**'), sign('*')] : [sign('*'), sign('**')];
  return [sign(run)];
}

/** Code and labelled links begin with a sign; how far the one at `at` goes, if it is one. */
function spanAt(
  text: string,
  at: number,
  run: string,
  lastTick: number,
  left: Budget,
): [Inline, number] | null {
  if (run === '`' && at < lastTick) {
    const end = text.indexOf('`', at + 1);
    return [{ kind: 'code', text: text.slice(at + 1, end) }, end + 1];
  }
  if (run === '[' && left.addresses > 0) {
    LABELLED.lastIndex = at;
    const match = LABELLED.exec(text);
    if (match) left.addresses -= 1;
    const target = match && targetOf(match[2] ?? '');
    if (match && target) return [{ kind: 'link', text: match[1] ?? '', target }, LABELLED.lastIndex];
  }
  return null;
}

function pieces(text: string, left: Budget): Piece[] {
  const found: Piece[] = [];
  const links = findLinks(text, left);
  const lastTick = text.lastIndexOf('`');
  let done = 0;

  function upTo(end: number) {
    if (end > done) found.push({ kind: 'text', text: text.slice(done, end) });
    done = end;
  }
  function link({ from, to, target }: FoundLink) {
    upTo(from);
    found.push({ kind: 'link', text: text.slice(from, to), target });
    done = to;
  }

  let next = 0;
  for (const { index: at, 0: run } of text.matchAll(RUNS)) {
    for (; next < links.length && (links[next] as FoundLink).from < at; next += 1) {
      const each = links[next] as FoundLink;
      if (each.from >= done) link(each);
    }
    if (at < done) continue;
    const span = spanAt(text, at, run, lastTick, left);
    const here = span ? [span[0]] : signs(text, at, run);
    if (here.length === 0) continue;
    upTo(at);
    found.push(...here);
    done = span ? span[1] : at + run.length;
  }
  for (const each of links.slice(next)) if (each.from >= done) link(each);
  upTo(text.length);
  return found;
}

interface Open {
  sign: Sign | null;
  children: Inline[];
}

/** Neighbouring texts become one. */
function put(children: Inline[], piece: Inline): void {
  const last = children.at(-1);
  if (piece.kind === 'text' && last?.kind === 'text') {
    children[children.length - 1] = { kind: 'text', text: last.text + piece.text };
  } else children.push(piece);
}

/** Reads what stands within a line or a paragraph. */
export function inline(text: string, left = budget()): Inline[] {
  const stack: Open[] = [{ sign: null, children: [] }];
  const top = () => stack.at(-1) as Open;

  /** What was opened and not closed is text. */
  function give() {
    const { sign, children } = stack.pop() as Open;
    put(top().children, { kind: 'text', text: sign ?? '' });
    for (const child of children) put(top().children, child);
  }

  for (const piece of pieces(text, left)) {
    if (piece.kind !== 'sign') {
      put(top().children, piece);
      continue;
    }
    const isOpen = stack.some(({ sign }) => sign === piece.sign);
    if (isOpen && piece.closes) {
      while (top().sign !== piece.sign) give();
      const { children } = stack.pop() as Open;
      put(top().children, { kind: piece.sign === '**' ? 'bold' : 'italic', children });
    } else if (!isOpen && piece.opens) stack.push({ sign: piece.sign, children: [] });
    else put(top().children, { kind: 'text', text: piece.sign });
  }
  while (stack.length > 1) give();
  return top().children;
}

const FENCE = /^\s{0,3}```[^`]*$/;
const QUOTE = /^>(?: |$)/;
const BULLET = /^[-*•] +(?=\S)/;
const NUMBER = /^(\d{1,3})[.)] +(?=\S)/;

type Kind = 'text' | 'quote' | 'bullets' | 'numbers';

function kindOf(line: string): Kind {
  if (QUOTE.test(line)) return 'quote';
  if (BULLET.test(line)) return 'bullets';
  return NUMBER.test(line) ? 'numbers' : 'text';
}

function block(kind: Kind, lines: string[], left: Budget): Block {
  const without = (mark: RegExp) => lines.map((line) => line.replace(mark, ''));
  const items = (mark: RegExp) => without(mark).map((item) => inline(item, left));
  switch (kind) {
    case 'quote':
      return { kind, children: inline(without(QUOTE).join('\n'), left) };
    case 'bullets':
      return { kind: 'list', start: null, items: items(BULLET) };
    case 'numbers': {
      const start = Number(NUMBER.exec(lines[0] ?? '')?.[1] ?? 1);
      return { kind: 'list', start, items: items(NUMBER) };
    }
    case 'text':
      return { kind, children: inline(lines.join('\n'), left) };
  }
}

/** Where each block of code begins and ends; a fence without a partner is none. */
function fences(lines: string[]): Map<number, number> {
  const marks = lines.flatMap((line, at) => (FENCE.test(line) ? [at] : []));
  const pairs = new Map<number, number>();
  for (let each = 0; each + 1 < marks.length; each += 2) pairs.set(marks[each] ?? 0, marks[each + 1] ?? 0);
  return pairs;
}

/** Reads a whole message. Lines of one kind belong together. */
export function blocks(text: string): Block[] {
  const lines = text.split('\n');
  const code = fences(lines);
  const left = budget();
  const found: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const from = at;
    const end = code.get(at);
    if (end !== undefined) {
      found.push({ kind: 'code', text: lines.slice(from + 1, end).join('\n') });
      at = end + 1;
      continue;
    }
    const kind = kindOf(lines[at] ?? '');
    do at += 1;
    while (at < lines.length && !code.has(at) && kindOf(lines[at] ?? '') === kind);
    found.push(block(kind, lines.slice(from, at), left));
  }
  return found;
}

function flat(children: Inline[]): string {
  return children.map((each) => ('children' in each ? flat(each.children) : each.text)).join('');
}

/** The text without the signs, for previews, quotes and screen readers. */
export function plain(text: string): string {
  return blocks(text)
    .map((each) => {
      if (each.kind === 'code') return each.text;
      return each.kind === 'list' ? each.items.map(flat).join('\n') : flat(each.children);
    })
    .join('\n');
}

/** Where a hit begins and ends while its text is read: two code points that no text has. */
const HIT_START = '\ufdd0';
const HIT_END = '\ufdd1';
const HIT_EDGES = /([\ufdd0\ufdd1])/;

/** A search hit without the signs, its marked parts still marked. A hit on the signs themselves stays as it is. */
export function plainParts(parts: readonly SnippetPart[]): readonly SnippetPart[] {
  const marked = parts
    .map(({ text, hit }) => {
      const own = text.split(HIT_EDGES).filter((each) => !HIT_EDGES.test(each));
      return hit ? HIT_START + own.join('') + HIT_END : own.join('');
    })
    .join('');
  // The engine's mark of a cut is none of the message's letters.
  const cut = marked.startsWith('…') ? '…' : '';
  const found: SnippetPart[] = [];
  let hit = false;
  for (const text of (cut + plain(marked.slice(cut.length))).split(HIT_EDGES)) {
    if (HIT_EDGES.test(text)) hit = text === HIT_START;
    else if (text) found.push({ text, hit });
  }
  return found.some((part) => part.hit) ? found : parts;
}
