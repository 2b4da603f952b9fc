/** Timelines, what is written into them, what waits to be sent, and search. */
import type { Anchor, Commands, SearchHit, TimelineItem } from '../engine';
import { ME } from './people';
import type { Row, World } from './world';

const HITS_MAX = 20;

/** From and to of the part that an anchor asks for. */
function part(items: TimelineItem[], unread: number, anchor: Anchor, limit: number): [number, number] {
  const place = (order: number) => {
    const at = items.findIndex((item) => item.order >= order);
    return at < 0 ? items.length : at;
  };
  const from = (at: number): [number, number] => [at, Math.min(items.length, at + limit)];
  const around = (at: number) => from(Math.max(0, at - Math.floor(limit / 2)));
  switch (anchor.at) {
    case 'before':
      return [Math.max(0, place(anchor.order) - limit), place(anchor.order)];
    case 'from':
      return from(place(anchor.order));
    case 'around':
      return around(items.findIndex((item) => item.type === 'message' && item.id === anchor.id));
    case 'first_unread':
      if (unread >= 0) return around(unread);
      break;
    case 'newest':
      break;
  }
  return [Math.max(0, items.length - limit), items.length];
}

function hits({ view, items }: Row, query: string): SearchHit[] {
  return items.flatMap((item) => {
    if (item.type !== 'message') return [];
    const at = item.text.toLowerCase().indexOf(query.toLowerCase());
    if (at < 0) return [];
    const end = at + query.length;
    return [
      {
        conversation: view.id,
        conversation_title: view.title,
        message: item.id,
        sender: item.sender,
        ts: item.ts,
        snippet: [
          { text: item.text.slice(0, at), hit: false },
          { text: item.text.slice(at, end), hit: true },
          { text: item.text.slice(end), hit: false },
        ],
      },
    ];
  });
}

export function messages(world: World) {
  return {
    async timeline(id, anchor, limit) {
      const { items, read } = world.row(id);
      const unread = items.findIndex((i) => i.type === 'message' && !i.mine && (i.seq ?? 0) > read);
      const [from, to] = part(items, unread, anchor, limit);
      const first = items[unread];
      return {
        // As from the shell: nothing that is shared.
        items: structuredClone(items.slice(from, to)),
        at_start: from === 0,
        at_end: to === items.length,
        loading: false,
        first_unread: first?.type === 'message' ? first.id : null,
        read,
      };
    },
    async sendMessage(id, text, reply_to) {
      const row = world.row(id);
      const target = row.items.find((item) => item.type === 'message' && item.id === reply_to);
      const quote =
        target?.type === 'message'
          ? { id: target.id, sender: target.sender, text: target.text, deleted: target.deleted }
          : null;
      const sent = world.push(id, ME, text, quote);
      Object.assign(row.view, { is_local: !world.isOnline, draft: null });
      if (!world.isOnline) world.queue(id, text, { state: 'queued' });
      world.changed(id);
      return sent.id;
    },
    editMessage: async (conversation, id, text) =>
      world.edit(conversation, id, () => ({ text, edited: true })),
    deleteMessage: async (conversation, id) =>
      world.edit(conversation, id, () => ({ text: '', deleted: true, reactions: [] })),
    react: async (conversation, id, emoji, on) =>
      world.edit(conversation, id, ({ reactions }) => {
        const others = reactions.filter((each) => each.emoji !== emoji);
        const own = { emoji, count: 1, people: [ME], mine: true };
        return { reactions: on ? [...others, own] : others };
      }),
    pinMessage: async (conversation, id, pinned) => world.edit(conversation, id, () => ({ pinned })),
    outbox: async () => [...world.outbox],
    retry: async () => undefined,
    async cancel(item) {
      world.unqueue(item);
    },
    takeBack: async (item) => world.unqueue(item)?.summary ?? '',
    sendAllNow: async () => undefined,
    async search(query) {
      const found = [...world.rows.values()].flatMap((row) => hits(row, query));
      return {
        hits: found.slice(-HITS_MAX).reverse(),
        more: found.length > HITS_MAX,
        searched: 1_234,
        total: 1_300,
      };
    },
  } satisfies Partial<Commands>;
}
