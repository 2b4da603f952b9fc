/** Links in what people write: which are links at all, and where they really lead. */
import type { Link } from './ipc/engine';

export interface FoundLink {
  /** Where the address begins and ends in the text. */
  from: number;
  to: number;
  target: LinkTarget;
}

export interface LinkTarget {
  url: string;
  /** Where it really leads: the host as the resolver sees it, or the mail address. */
  host: string;
  /** A place within the app. */
  inside: Link | null;
}

const URL_CHARS_MAX = 2_048;
const ADDRESS = /\b(?:https?:\/\/|mailto:|kith:\/\/)[^\s<>"'`\\]+/giu;
/** Ends a sentence or a markup, not an address. */
const AFTER = '.,;:!?*_~)]}';
const PAIRS: Record<string, string> = { ')': '(', ']': '[', '}': '{' };
/** Controls, and what is invisible or turns the direction: no address needs them as they are. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/u;

function occurs(text: string, letter: string): number {
  return text.split(letter).length - 1;
}

/** Without what follows the address: `(see https://example.org/a_(b)).` is about `https://example.org/a_(b)`. */
function trimmed(text: string): string {
  let end = text.length;
  while (end > 0) {
    const last = text.charAt(end - 1);
    if (!AFTER.includes(last)) break;
    const opening = PAIRS[last];
    const address = text.slice(0, end);
    if (opening && occurs(address, opening) >= occurs(address, last)) break;
    end -= 1;
  }
  return text.slice(0, end);
}

/** `kith://start?with=…[&context=…]` or `kith://c/…[?m=…]`, read as strictly as the shell reads them. */
function place(url: URL): Link | null {
  const names = [...url.searchParams.keys()];
  const only = (...known: string[]) =>
    names.every((name) => known.includes(name)) && new Set(names).size === names.length;
  const path = url.pathname.replace(/^\//, '');
  const isId = (text: string) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);
  if (url.host === 'start' && path === '' && only('with', 'context')) {
    const who = url.searchParams.get('with') ?? '';
    const context = url.searchParams.get('context');
    const isContext = context === null || /^[a-z0-9_-]{1,32}:.{1,128}$/.test(context);
    return /^[a-z0-9._-]{3,36}$/.test(who) && isContext ? { kind: 'start', with: who, context } : null;
  }
  if (url.host === 'c' && isId(path) && only('m')) {
    const message = url.searchParams.get('m');
    return message === null || isId(message) ? { kind: 'conversation', id: path, message } : null;
  }
  return null;
}

/** What an address leads to; nothing if it is not one that is opened. */
export function targetOf(address: string): LinkTarget | null {
  if (address.length > URL_CHARS_MAX || HIDDEN.test(address)) return null;
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (url.username || url.password) return null; // `https://known.example@elsewhere.example`
  switch (url.protocol) {
    case 'http:':
    case 'https:':
      return url.host ? { url: url.href, host: url.host, inside: null } : null;
    case 'mailto:':
      return url.pathname.includes('@') ? { url: url.href, host: url.pathname, inside: null } : null;
    case 'kith:': {
      const inside = place(url);
      return inside && { url: url.href, host: 'Kith', inside };
    }
    default:
      return null;
  }
}

/** Whether a link's text tells by itself where it leads. */
export function isPlain(text: string, { url, host, inside }: LinkTarget): boolean {
  if (inside) return text.startsWith('kith://');
  const start = url.startsWith('mailto:') ? `mailto:${host}` : `${new URL(url).protocol}//${host}`;
  return text.toLowerCase().startsWith(start) && !/^[^/?#]/.test(text.slice(start.length));
}

/** Why opening a link asks first. */
export type Doubt = 'text' | 'letters';

/** What is doubtful about a link: its text does not tell where it leads, or its host can be taken for another. */
export function doubtsOf(text: string, target: LinkTarget): Doubt[] {
  if (target.inside) return [];
  const doubts: Doubt[] = [];
  if (targetOf(text)?.url !== target.url) doubts.push('text');
  // Letters beyond a to z reach the resolver so; many look like others.
  if (/(?:^|[.@])xn--/i.test(target.host)) doubts.push('letters');
  return doubts;
}

/** The addresses in a text, in their order. */
export function findLinks(text: string): FoundLink[] {
  const found: FoundLink[] = [];
  for (const match of text.matchAll(ADDRESS)) {
    if (match[0].length > URL_CHARS_MAX) continue;
    const address = trimmed(match[0]);
    const target = targetOf(address);
    if (target) found.push({ from: match.index, to: match.index + address.length, target });
  }
  return found;
}
