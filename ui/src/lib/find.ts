/** Finding names by parts of them, without regard to case and accents. */

/** Longer queries and names are compared as far as this: titles have at most 128 characters. */
const CHARS_MAX = 256;

function plain(text: string): string {
  return text.slice(0, CHARS_MAX).normalize('NFKD').replace(/\p{M}/gu, '').toLocaleLowerCase();
}

/** How well names fit: 0 for a name that begins so, 1 for a word in one, 2 for any part; null for not at all. */
export function fit(query: string, names: string[]): number | null {
  const words = [...new Set(plain(query).split(/\s+/).filter(Boolean))];
  const texts = names.map(plain);
  if (!words.every((word) => texts.some((text) => text.includes(word)))) return null;
  const [first] = words;
  if (first === undefined || texts.some((text) => text.startsWith(first))) return 0;
  return texts.some((text) => text.split(/[\s.@_-]+/).some((word) => word.startsWith(first))) ? 1 : 2;
}

/** Those that fit, the best first, otherwise in their order. */
export function best<T>(query: string, all: T[], names: (each: T) => string[]): T[] {
  return all
    .map((each) => ({ each, rank: fit(query, names(each)) }))
    .filter((found): found is { each: T; rank: number } => found.rank !== null)
    .sort((a, b) => a.rank - b.rank)
    .map(({ each }) => each);
}
