/** What is being written in one conversation: text, quote or edit; drafts and typing follow from it. */
import type { ConversationId, EventId, MessageView, Shell } from '../ipc/engine';

export const TEXT_MAX = 16_000;
const DRAFT_AFTER_MS = 500;

export type Mode =
  | { kind: 'write' }
  | { kind: 'reply'; to: MessageView }
  | { kind: 'edit'; message: MessageView; before: string };

export class Composer {
  text = $state('');
  mode = $state.raw<Mode>({ kind: 'write' });
  error = $state<string | null>(null);
  length = $derived(Array.from(this.text).length);
  empty = $derived(this.text.trim() === '');
  tooLong = $derived(this.length > TEXT_MAX);
  readonly conversation: ConversationId;
  #shell: Shell;
  #saved: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #onError: (error: unknown) => string;

  constructor(
    shell: Shell,
    conversation: ConversationId,
    draft: string,
    onError: (error: unknown) => string,
  ) {
    this.#shell = shell;
    this.conversation = conversation;
    this.text = draft;
    this.#saved = draft;
    this.#onError = onError;
  }

  /** The text was changed by its writer. */
  typed(): void {
    this.error = null;
    if (this.mode.kind === 'edit') return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.save(), DRAFT_AFTER_MS);
    void this.#shell.setTyping(this.conversation, !this.empty).catch(() => undefined);
  }

  /** Keeps the text as a draft; an edit is none. */
  async save(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.mode.kind === 'edit' || this.text === this.#saved) return;
    const text = this.text;
    try {
      await this.#shell.setDraft(this.conversation, text);
      this.#saved = text;
    } catch (error) {
      this.error = this.#onError(error);
    }
  }

  /** A draft that came from another device, if nothing was written here. */
  adopt(draft: string): void {
    if (this.mode.kind !== 'edit' && this.text === this.#saved && draft !== this.text) {
      this.text = draft;
      this.#saved = draft;
    }
  }

  /** Chooses the draft after two devices wrote one at the same time. */
  async keep(text: string): Promise<void> {
    clearTimeout(this.#timer);
    this.text = text;
    try {
      await this.#shell.keepDraft(this.conversation, text);
      this.#saved = text;
    } catch (error) {
      this.error = this.#onError(error);
    }
  }

  reply(to: MessageView): void {
    this.cancel();
    this.mode = { kind: 'reply', to };
  }

  edit(message: MessageView): void {
    this.cancel();
    this.mode = { kind: 'edit', message, before: this.text };
    this.text = message.text;
  }

  /** Leaves a quote or an edit; what was written before an edit comes back. */
  cancel(): void {
    if (this.mode.kind === 'edit') this.text = this.mode.before;
    this.mode = { kind: 'write' };
    this.error = null;
  }

  /** Sends, or stores the edit. The text stays when it could not be stored. Answers the new message's id. */
  async send(): Promise<EventId | null> {
    if (this.empty || this.tooLong) return null;
    const { text, mode } = this;
    clearTimeout(this.#timer);
    try {
      if (mode.kind === 'edit') {
        this.cancel();
        if (text !== mode.message.text)
          await this.#shell.editMessage(this.conversation, mode.message.id, text);
        return null;
      }
      this.text = '';
      this.#saved = '';
      this.mode = { kind: 'write' };
      const id = await this.#shell.sendMessage(
        this.conversation,
        text,
        mode.kind === 'reply' ? mode.to.id : null,
      );
      void this.#shell.setTyping(this.conversation, false).catch(() => undefined);
      return id;
    } catch (error) {
      if (this.text === '' || mode.kind === 'edit') {
        this.text = text;
        this.mode = mode;
      }
      this.error = this.#onError(error);
      return null;
    }
  }
}
