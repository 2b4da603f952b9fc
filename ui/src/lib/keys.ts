/** Where sign-in and key are kept, in words. */
import type { AccountView, KeyOffer } from './ipc/engine';

/** What to call the place, and what it means. */
export function keptText({ key_store, secret_store }: AccountView): { name: string; meaning: string } {
  switch (key_store) {
    case 'secret_store':
      return { name: secret_store, meaning: 'This computer’s secret store keeps your sign-in and key.' };
    case 'passphrase':
      return { name: 'Encrypted file', meaning: 'Only your passphrase opens the file.' };
    case 'session_only':
      return {
        name: 'Memory, until you quit',
        meaning: 'When Kith quits, this sign-in ends and unsent messages are lost.',
      };
  }
}

/** Why somebody is asked how to keep the sign-in. */
export function offerText(offer: KeyOffer, store: string): string {
  switch (offer.reason) {
    case 'no_store':
      return `You are signed in. But ${store}, where this computer keeps secrets, is missing or locked or refused, so nothing here keeps your sign-in yet.`;
    case 'key_missing':
      return `You are signed in. But the history that is on this computer stays closed: ${store} does not know its key.`;
    case 'passphrase_forgotten':
      return 'You are signed in without the passphrase, so the history that is on this computer stays closed.';
  }
}

/** What becomes of a history that cannot be opened; nothing if there is none. */
export function asideText({ has_history, unsent }: KeyOffer): string | null {
  if (!has_history) return null;
  const lost =
    unsent === null
      ? 'Whether something in it was unsent is not known.'
      : unsent === 0
        ? 'Nothing in it was unsent.'
        : `${unsent} unsent ${unsent === 1 ? 'item is' : 'items are'} in it.`;
  return `If you keep this sign-in, a new history is begun with what the server has. The old file is renamed and kept for 30 days. ${lost}`;
}
