/** People who are called the same: their names alone do not say who they are. */
import type { PersonView, UserId } from './ipc/engine';

/** As a reader sees it: without case, compatible forms, and what is invisible. */
function seen(name: string): string {
  return name
    .normalize('NFKC')
    .replace(/[\p{Cf}\p{Cc}\u2800]/gu, '')
    .replace(/\s+/gu, ' ')
    .trim()
    .toLocaleLowerCase();
}

/** Those of these people whose name another one of them has too. */
export function namesakes(people: Iterable<PersonView>): Set<UserId> {
  const byName = new Map<string, Set<UserId>>();
  for (const { id, display_name } of people) {
    const name = seen(display_name);
    byName.set(name, (byName.get(name) ?? new Set()).add(id));
  }
  return new Set([...byName.values()].filter((ids) => ids.size > 1).flatMap((ids) => [...ids]));
}
