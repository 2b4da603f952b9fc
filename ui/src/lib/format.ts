/** Times, names and texts as people read them. */
import type { Role } from './ipc/engine';

const DAY = 86_400_000;

function startOfDay(time: number): number {
  return new Date(time).setHours(0, 0, 0, 0);
}

/** `14:05` */
export function clock(time: number): string {
  return new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' }).format(time);
}

/** The whole date and time, for titles. */
export function exact(time: number): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' }).format(time);
}

/** Whether two times are of one day. */
export function sameDay(one: number, other: number): boolean {
  return startOfDay(one) === startOfDay(other);
}

/** Today, Yesterday, Monday, 3 May, 3 May 2024. */
export function day(time: number, now = Date.now()): string {
  const days = Math.round((startOfDay(now) - startOfDay(time)) / DAY);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days > 1 && days < 7) return new Intl.DateTimeFormat(undefined, { weekday: 'long' }).format(time);
  const sameYear = new Date(time).getFullYear() === new Date(now).getFullYear();
  const year = sameYear ? {} : { year: 'numeric' as const };
  return new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', ...year }).format(time);
}

/** For the list: the clock today, the day before that. */
export function brief(time: number, now = Date.now()): string {
  return sameDay(time, now) ? clock(time) : day(time, now);
}

/** The same within a sentence: today, yesterday, Monday, 3 May. */
export function dayWithin(time: number, now = Date.now()): string {
  const when = day(time, now);
  return when === 'Today' || when === 'Yesterday' ? when.toLowerCase() : when;
}

/** `last seen today at 14:05` */
export function lastSeen(time: number, now = Date.now()): string {
  return `last seen ${dayWithin(time, now)} at ${clock(time)}`;
}

/** One or two letters for an avatar. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined];
  const first = (word: string | undefined) => (word ? (Array.from(word)[0] ?? '') : '');
  return letters.map(first).join('').toLocaleUpperCase() || '?';
}

/** One of twelve colours (see `tokens.css`), the same for the same id for ever. */
export function colourOf(id: string): number {
  let hash = 0;
  for (let index = 0; index < id.length; index += 1) hash = (hash * 31 + id.charCodeAt(index)) >>> 0;
  return hash % 12;
}

/** `1`, `99`, `99+` */
export function count(number: number): string {
  return number > 99 ? '99+' : String(number);
}

/** A name for within a sentence: without the signs that would turn what follows it. */
export function tame(name: string): string {
  return name.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '');
}

/** `a`, `a and b`, `a, b and 3 others` */
export function names(all: string[]): string {
  const people = all.map(tame);
  if (people.length <= 2) return people.join(' and ');
  const others = people.length - 2;
  return `${people[0]}, ${people[1]} and ${others} ${others === 1 ? 'other' : 'others'}`;
}

/** A name of at most `max` characters, for where a text follows it. */
export function shortened(name: string, max = 20): string {
  const letters = Array.from(name);
  return letters.length > max
    ? `${letters
        .slice(0, max - 1)
        .join('')
        .trimEnd()}…`
    : name;
}

/** `Bo is typing…`, `Bo and Cleo are typing…` */
export function typing(people: string[]): string {
  return `${names(people)} ${people.length === 1 ? 'is' : 'are'} typing…`;
}

/** A member's role as a label. */
export const ROLES: Record<Role, string> = { owner: 'Owner', admin: 'Admin', member: 'Member' };

/** What a conversation is about on the platform: its title there, or its kind and number. */
export function contextText({
  kind,
  id,
  title,
}: {
  kind: string;
  id: string;
  title?: string | null;
}): string {
  return title || `${kind} ${id}`;
}
