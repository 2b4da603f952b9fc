/** Whom the user has blocked, as the server last said. Asked for when something on screen depends on it. */
import type { PersonView, Shell, UserId } from '../ipc/engine';

export class Blocks {
  #shell: Shell;
  /** By name; null until the server has answered. */
  people = $state.raw<PersonView[] | null>(null);
  #asking: Promise<void> | null = null;

  constructor(shell: Shell) {
    this.#shell = shell;
  }

  has(user: UserId | null | undefined): boolean {
    return !!user && (this.people?.some((person) => person.id === user) ?? false);
  }

  /** Asks the server. Throws what it met; what was known stays. */
  load(): Promise<void> {
    this.#asking ??= this.#shell
      .blockedPeople()
      .then((people) => void (this.people = people))
      .finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** Asks once; without a network nothing is known, and the next call asks again. */
  ensure(): void {
    if (this.people === null) void this.load().catch(() => undefined);
  }

  async block(user: UserId): Promise<void> {
    await this.#shell.block(user);
    await this.#changed();
  }

  async unblock(user: UserId): Promise<void> {
    await this.#shell.unblock(user);
    this.people = this.people?.filter((person) => person.id !== user) ?? null;
  }

  async leaveAndBlock(conversation: string, user: UserId): Promise<void> {
    await this.#shell.leaveAndBlock(conversation, user);
    await this.#changed();
  }

  /** Another account: nothing of the one before is known. */
  forget(): void {
    this.people = null;
  }

  async #changed(): Promise<void> {
    // An answer that was under way may be from before.
    await this.#asking?.catch(() => undefined);
    await this.load().catch(() => undefined);
  }
}
