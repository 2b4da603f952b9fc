/** The conversation list, as the engine orders it. */
import type { ConversationId, ConversationView, PersonView, Shell } from '../ipc/engine';
import { kept } from '../same';

export class Conversations {
  list = $state.raw<ConversationView[]>([]);
  loaded = $state(false);
  current = $derived(this.list.filter((row) => !row.archive));
  archived = $derived(this.list.filter((row) => row.archive));
  #shell: Shell;
  #asked = 0;

  constructor(shell: Shell) {
    this.#shell = shell;
  }

  async refresh(): Promise<void> {
    const ask = ++this.#asked;
    const list = await this.#shell.conversations();
    if (ask !== this.#asked) return; // an older answer never replaces a newer one
    this.list = kept(this.list, list, (row) => row.id);
    this.loaded = true;
  }

  get(id: ConversationId | null): ConversationView | undefined {
    return this.list.find((row) => row.id === id);
  }

  /** Typing changes too often to read the whole list again. */
  typing(id: ConversationId, people: PersonView[]): void {
    this.list = this.list.map((row) => (row.id === id ? { ...row, typing: people } : row));
  }
}
