/** Things that are read again: what has not changed stays the same object, so that nothing of it is drawn again. */

/** The new list, with each old entry in the place of a new one that says the same. */
export function kept<T>(before: T[], now: T[], keyOf: (entry: T) => string): T[] {
  const old = new Map(before.map((entry) => [keyOf(entry), entry]));
  return now.map((entry) => {
    const known = old.get(keyOf(entry));
    return known && JSON.stringify(known) === JSON.stringify(entry) ? known : entry;
  });
}
