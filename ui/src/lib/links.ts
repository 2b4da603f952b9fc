/** Links in what people write: which are links at all, and where they really lead. */
import type { Link } from './ipc/engine';

export interface FoundLink {
  /** Where the address begins and ends in the text. */
  from: number;
  to: number;
  target: LinkTarget;
}

/** How many addresses of a message are still looked at. */
export interface Budget {
  addresses: number;
}

export const budget = (): Budget => ({ addresses: ADDRESSES_MAX });

export interface LinkTarget {
  url: string;
  /** Where it really leads: the host as the resolver sees it, or the mail address. */
  host: string;
  /** A place within the app. */
  inside: Link | null;
}

const URL_CHARS_MAX = 2_048;
/**
 * A host's name has at most 253 characters and a port six, whatever one letter of it stands for (`\ufdfa` for eighteen).
 * To write a longer name as the resolver sees it takes time that grows with its square.
 */
const AUTHORITY_CHARS_MAX = 259;
const AUTHORITY = /^[a-z]+:\/\/([^/?#]*)/i;
/** Further addresses of a message stay text. */
const ADDRESSES_MAX = 256;
const SCHEME = /^(?:https?:\/\/|mailto:|kith:\/\/)/i;
const ADDRESS = /\b(?:https?:\/\/|mailto:|kith:\/\/)[^\s<>"'`\\]+/giu;
/** Ends a sentence or a markup, not an address. */
const AFTER = '.,;:!?*_~)]}';
const PAIRS: Record<string, string> = { ')': '(', ']': '[', '}': '{' };
const BRACKETS = '()[]{}';
/** Controls, and what is invisible or turns the direction: no address needs them as they are. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/u;

/**
 * Without what follows the address: `(see https://example.org/a_(b)).` is about `https://example.org/a_(b)`.
 *
 * Reads each character at most twice: the brackets are counted once, and each closing one that goes is taken off.
 */
function trimmed(text: string): string {
  const counts = new Map<string, number>();
  for (const letter of text) if (BRACKETS.includes(letter)) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  let end = text.length;
  for (; end > 0; end -= 1) {
    const last = text.charAt(end - 1);
    if (!AFTER.includes(last)) break;
    const opening = PAIRS[last];
    if (opening === undefined) continue;
    const closings = counts.get(last) ?? 0;
    if ((counts.get(opening) ?? 0) >= closings) break;
    counts.set(last, closings - 1);
  }
  return text.slice(0, end);
}

/** What a chat is about on the platform: `job:7`. */
const CONTEXT = /^([a-z0-9_-]{1,32}):(.{1,128})$/u;

/** `kith://start?with=…[&context=…]` or `kith://c/…[?m=…]`, read as strictly as the shell reads them. */
function place(url: URL): Link | null {
  const names = [...url.searchParams.keys()];
  const only = (...known: string[]) =>
    names.every((name) => known.includes(name)) && new Set(names).size === names.length;
  const path = url.pathname.replace(/^\//, '');
  const isId = (text: string) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);
  if (url.host === 'start' && path === '' && only('with', 'context')) {
    const who = url.searchParams.get('with') ?? '';
    const about = url.searchParams.get('context');
    const [, kind = '', id = ''] = CONTEXT.exec(about ?? '') ?? [];
    if (about !== null && !kind) return null;
    const context = about === null ? null : { kind, id };
    return /^[a-z0-9._-]{3,36}$/.test(who) ? { kind: 'start', with: who, context } : null;
  }
  if (url.host === 'c' && isId(path) && only('m')) {
    const message = url.searchParams.get('m');
    return message === null || isId(message) ? { kind: 'conversation', id: path, message } : null;
  }
  return null;
}

/** What an address leads to; nothing if it is not one that is opened. */
export function targetOf(address: string): LinkTarget | null {
  if (address.length > URL_CHARS_MAX || !SCHEME.test(address) || HIDDEN.test(address)) return null;
  const authority = AUTHORITY.exec(address)?.[1] ?? '';
  if (authority.normalize('NFKC').length > AUTHORITY_CHARS_MAX) return null;
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
export type Doubt = 'text' | 'words' | 'letters';

/** What readers take for an address: a scheme, a mail address, or a host in any script. */
const LIKE_ADDRESS = /:\/\/|mailto:|[\p{L}\p{N}][@.\u2024\u3002\uff0e\uff61]\p{L}|\d\.\d{1,3}\.\d{1,3}\.\d/iu;

/**
 * What is doubtful about a link: its text shows another address or none, or its host can be taken for another.
 */
export function doubtsOf(text: string, target: LinkTarget): Doubt[] {
  if (target.inside) return [];
  const doubts: Doubt[] = [];
  if (targetOf(text)?.url !== target.url) doubts.push(LIKE_ADDRESS.test(text) ? 'text' : 'words');
  // Letters beyond a to z reach the resolver so; many look like others.
  if (/(?:^|[.@])xn--/i.test(target.host)) doubts.push('letters');
  return doubts;
}

/** The addresses in a text, in their order, as long as the message's budget lasts. */
export function findLinks(text: string, left: Budget = budget()): FoundLink[] {
  const found: FoundLink[] = [];
  if (left.addresses === 0) return found;
  for (const match of text.matchAll(ADDRESS)) {
    if (match[0].length > URL_CHARS_MAX) continue;
    const address = trimmed(match[0]);
    const target = targetOf(address);
    if (target) found.push({ from: match.index, to: match.index + address.length, target });
    left.addresses -= 1;
    if (left.addresses === 0) break;
  }
  return found;
}
