/** Codes to sentences: what went wrong and what to do next. Everyone branches on the code, nobody on a text. */
import { exact } from './format';
import type { MendedView, OutboxKind, UiError } from './ipc/engine';

const SENTENCES: Record<string, string> = {
  unavailable: "The server can't answer right now. Kith keeps trying.",
  rate_limited: 'Too many attempts. Wait a moment, then try again.',
  skipped: 'Waiting for an earlier message.',
  busy: 'The server is overloaded. Kith keeps trying.',
  token_expired: 'Your sign-in has expired. Sign in again. Your messages are safe.',
  token_invalid: 'The server no longer accepts your sign-in. Sign in again. Your messages are safe.',
  device_revoked: 'This device was signed out. Sign in again. Your messages are safe.',
  credentials_invalid: 'Wrong username or password. Check both and try again.',
  name_taken: 'This username is taken. Choose another one.',
  not_member: "You are not a member of this conversation, so this can't be sent.",
  not_allowed: 'You are not allowed to do this here.',
  id_conflict: 'This conflicts with an earlier message. Send a new message instead.',
  too_large: 'This is too long. Shorten the text and try again.',
  invalid: 'The server does not accept this. Check what you entered.',
  too_old: 'This was written more than 30 days ago. Try again, or delete it.',
  target_missing: 'The original message or person no longer exists.',
  attachment_missing: 'The file is not on the server.',
  conversation_closed: 'This conversation is closed.',
  unsupported: 'The server does not support this. The server may need an update.',
  state_conflict: 'Another device changed this in the meantime.',
  upgrade_required: 'This version is too old for the server. Update Kith.',
  offline: "Can't reach the server. Check the network and the address.",
  engine_failed: 'Kith failed several times and closes. Your messages are safe. Start Kith again.',
  signed_out: 'Nobody is signed in.',
  bad_certificate:
    'The certificate of this server cannot be trusted: it is expired, made for another name, or from an unknown authority. Ask the operator; nothing was sent.',
  bad_ca_file:
    'The file of trusted certificates cannot be read, or holds none. Correct --ca-file and start again.',
  no_tls: 'Secure connections do not work on this computer. Update the system and try again.',
  insecure_server: 'Only https:// addresses are safe. Ask the operator for one.',
  bad_address: 'There is no Kith server at this address. Check it and try again.',
  not_found: 'Not found.',
  profile_locked: 'Kith is already open with this profile. Use the other window, or close it first.',
  key_missing: 'The key of the stored history was not found. The file is kept as it is.',
  newer_file:
    'The stored history was written by a newer version of Kith. Update Kith to open it; the file is kept as it is.',
  file_damaged:
    'The stored history is damaged. What is unsent is being brought into a new file; try again in a moment.',
  file_busy: 'Another program holds the stored history open. Close it, then try again.',
  read_only:
    'Kith cannot write to its folder: the disk or the file is read-only. Make it writable and try again; nothing is lost.',
  link_refused: 'Blocked: this link may not lead where it claims.',
  link_failed: 'No program opened this link. Copy its address instead.',
  disk_full: 'The disk is full. Free some space and try again; nothing is lost.',
  no_secret_store: 'The secret store of this computer cannot be used. Unlock it, then try again.',
  secret_too_large: 'The sign-in is too large for the secret store of this computer. Use a passphrase.',
  passphrase_wrong: 'Wrong passphrase. Check the spelling and try again.',
  passphrase_wait: 'Too many wrong passphrases.',
  passphrase_unfit: 'A passphrase has 8 to 256 characters.',
  secrets_newer:
    'A newer version of Kith wrote the file with your sign-in. Update Kith; the file is kept as it is.',
  secrets_damaged: 'The file with your sign-in is damaged. It is kept as it is.',
  unsent_first:
    'The history that was here before can be opened again, but what you wrote since is unsent and would be lost. Wait until it has gone out.',
  store_failed: 'The stored history cannot be read or written. Restart Kith; if it stays so, check the disk.',
  update_unreachable: "Can't reach the update server. Check the network and try again later.",
  update_bad_certificate:
    'The certificate of the update server is not trusted, so nothing was downloaded. Try another network, or ask your operator.',
  update_insecure: 'The update server does not use https://, so nothing was downloaded. Ask your operator.',
  update_too_large: 'The update is larger than Kith accepts. Nothing was changed.',
  update_bad_manifest: "The update can't be read or is not for this system. Check again later.",
  update_untrusted:
    'The update is not signed with the expected key and was deleted. Check again later. If this repeats, ask your operator.',
  update_not_allowed: 'This computer did not allow the installation. Check for updates again and allow it.',
  update_not_installed:
    'The new version could not be written. Check the disk and its permissions, then check for updates again.',
  update_bad_settings:
    'The update address or key is not valid. Correct --update-url and --update-key-file and start again.',
  file_failed: 'A file could not be read or written. Check the disk and its permissions.',
};

/** The sentence for a code. */
export function sentence(code: string): string {
  return SENTENCES[code] ?? 'Something went wrong. Try again.';
}

/** What a code means for one kind of unsent item, where the general sentence would mislead. */
const ITEM_SENTENCES: Partial<Record<OutboxKind, Record<string, string>>> = {
  reaction: {
    too_large:
      'This message already has 20 different reactions, or 8 of yours. Remove a reaction, then try again.',
  },
  pin: { too_large: 'This conversation already has 50 pinned messages. Unpin a message, then try again.' },
  open: {
    target_missing:
      'A person in this conversation cannot be reached. Remove this, then start it again without that person.',
  },
  member: {
    too_large: 'A group has at most 1,000 members.',
    target_missing: 'This person cannot be added to the group. Remove this to go on.',
  },
};

/** The sentence for the code of an unsent item. */
export function itemSentence(what: OutboxKind, code: string): string {
  return ITEM_SENTENCES[what]?.[code] ?? sentence(code);
}

/** The code of whatever was thrown. */
export function codeOf(error: unknown): string {
  const code = (error as Partial<UiError> | null)?.code;
  return typeof code === 'string' ? code : 'unknown';
}

/** The sentence for whatever was thrown. */
export function explain(error: unknown): string {
  const code = codeOf(error);
  const wait = (error as Partial<UiError> | null)?.retry_after_ms;
  if (code !== 'passphrase_wait' || !wait) return sentence(code);
  const seconds = Math.ceil(wait / 1_000);
  return `${sentence(code)} Try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}.`;
}

/** The same for a change of whom the user has blocked: it is made at once or not at all. */
export function explainBlock(error: unknown): string {
  switch (codeOf(error)) {
    case 'offline':
      return 'Blocking and unblocking need a connection. Nothing was changed. Check the network, then try again.';
    case 'unavailable':
    case 'busy':
      return 'The server cannot answer at the moment. Nothing was changed. Try again in a moment.';
    case 'too_large':
      return 'You can block at most 1,000 people. Unblock someone in the settings, then try again.';
    case 'target_missing':
      return 'This person no longer exists. Nothing was changed.';
    default:
      return explain(error);
  }
}

/** The same where somebody chose a password: what servers refuse then is nearly always that. */
export function explainChoice(error: unknown): string {
  if (codeOf(error) !== 'invalid') return explain(error);
  return 'The server does not accept this. A password has 8 to 256 characters and is not easy to guess. Avoid names, common words and rows of keys. Four unrelated words make a good password.';
}

/** What became of a damaged history: what was saved, what was not, and where the old file is. */
export function mendedText(mended: MendedView): string {
  const items = (count: number) =>
    count === 1 ? '1 unsent item or draft' : `${count} unsent items and drafts`;
  const more = mended.is_complete ? '' : ' More may have been in the damaged part.';
  const lost = mended.lost > 0 ? ` ${items(mended.lost)} could not be read.` : '';
  return (
    `Your messages come again from the server. ${items(mended.salvaged)} ${mended.salvaged === 1 ? 'was' : 'were'} saved.${lost}${more} ` +
    `The damaged file is kept${mended.kept_until === null ? '' : ` until ${exact(mended.kept_until)}`}: ${mended.file}`
  );
}
