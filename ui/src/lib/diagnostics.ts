/** What a person copies to show somebody how sync stands: numbers, no names, no titles, no text. */
import type { Counter, DiagnosticsView, LinkView } from './ipc/engine';

export const COUNTERS: Record<Counter, string> = {
  gap_pulls: 'Missing messages asked for',
  full_heads: 'Full server snapshots received',
  duplicates: 'Messages sent twice and kept once',
  forks: 'Times the server had a different history',
  orphans: 'Own messages the server had lost, sent again',
  checks: 'Conversations compared',
  repairs: 'Damaged parts fetched again',
  driver_restarts: 'Restarts of sync after an error',
  writer_restarts: 'Restarts of storage after an error',
};

/** One sentence on how things stand. */
export function verdict({ link, incomplete, waiting, parked }: DiagnosticsView): string {
  const here = incomplete
    ? `Messages are missing in ${incomplete === 1 ? 'one conversation' : `${incomplete} conversations`}. Kith downloads them when it is connected.`
    : 'All known messages are downloaded.';
  const away = waiting + parked;
  const unsent = away ? ` ${away === 1 ? 'One item is' : `${away} items are`} unsent.` : '';
  const known = link.state === 'connected' ? '' : ' Kith is not connected, so there may be newer messages.';
  return here + unsent + known;
}

function linkWords(link: LinkView): string {
  return link.state === 'connected' && link.polling
    ? 'connected by polling'
    : link.state.replaceAll('_', ' ');
}

export function report(view: DiagnosticsView): string {
  const lines = [
    view.app,
    `server ${view.server}`,
    `device ${view.device}`,
    `lineage ${view.epoch ?? 'unknown'}`,
    `link ${linkWords(view.link)}`,
    `at ${new Date(view.at).toISOString()}`,
    `checked ${view.checked_at === null ? 'never' : new Date(view.checked_at).toISOString()}`,
    `file ${view.file_bytes} bytes`,
    `outbox ${view.waiting} waiting, ${view.parked} parked`,
    `conversations ${view.conversations}, incomplete ${view.incomplete}`,
    ...view.counters.map(({ counter, count }) => `${counter} ${count}`),
    ...view.logs.map(
      ({ conversation, in_sync_to, head, missing, older }) =>
        `${conversation} in sync to #${in_sync_to} of #${head}, missing ${missing}, older ${older}`,
    ),
  ];
  return lines.join('\n');
}
