/** Whose presence is on screen: the rows that are in view, and the open conversation's. The engine is told of changes. */
import type { Shell, UserId } from '../ipc/engine';

/** The engine watches no more people. */
const WATCHED_MAX = 200;
/** Scrolling changes what is in view many times a second. */
const TELL_AFTER_MS = 200;

export class Watched {
  #shell: Shell;
  #users = new Map<Element, UserId>();
  #inView = new Set<Element>();
  #open: UserId | null = null;
  #told = '';
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Without an observer, what is drawn counts as in view. */
  #observer =
    typeof IntersectionObserver === 'undefined'
      ? null
      : new IntersectionObserver((entries) => {
          for (const { target, isIntersecting } of entries) {
            if (isIntersecting) this.#inView.add(target);
            else this.#inView.delete(target);
          }
          this.#tellSoon();
        });

  constructor(shell: Shell) {
    this.#shell = shell;
  }

  /** A row that shows somebody's presence; answers what ends it. */
  row(element: Element, user: UserId): () => void {
    this.#users.set(element, user);
    if (this.#observer) this.#observer.observe(element);
    else this.#inView.add(element);
    this.#tellSoon();
    return () => {
      this.#observer?.unobserve(element);
      this.#users.delete(element);
      this.#inView.delete(element);
      this.#tellSoon();
    };
  }

  /** The open conversation's person. */
  open(user: UserId | null): void {
    this.#open = user;
    this.#tellSoon();
  }

  /** Another account, or the same again: nothing is watched. */
  forget(): void {
    this.#told = '';
    this.#tellSoon();
  }

  #tellSoon(): void {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
    }, TELL_AFTER_MS);
  }

  #tell(): void {
    const rows = [...this.#inView].flatMap((element) => this.#users.get(element) ?? []);
    const users = [...new Set(this.#open ? [this.#open, ...rows] : rows)].slice(0, WATCHED_MAX).sort();
    const told = users.join();
    if (told === this.#told) return;
    this.#told = told;
    // Nobody may be signed in; the next sign-in tells again.
    void this.#shell.watchPresence(users).catch(() => (this.#told = ''));
  }
}
