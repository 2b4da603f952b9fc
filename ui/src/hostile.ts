/**
 * Strings that have broken messengers: none may become anything but text and the fixed elements of messages.
 *
 * They are in `hostile.json`, which the Rust tests read too. What is longer is written there as what is repeated.
 */
import corpus from './hostile.json';
import type { Fake } from './lib/ipc/fake';
import type { World } from './lib/ipc/fake/world';
import type { PersonView } from './lib/ipc/engine';

interface Repeated {
  before?: string;
  repeat: string;
  times: number;
  after?: string;
}

function whole(each: string | Repeated): string {
  if (typeof each === 'string') return each;
  return (each.before ?? '') + each.repeat.repeat(each.times) + (each.after ?? '');
}

/** Half a character: the wire refuses it, and JSON in a file cannot hold it. */
const LONE = ['lone \ud800 x \udc00', '\udfff<b>'];

export const HOSTILE: string[] = [...corpus.map(whole), ...LONE];

/** The conversation in which the string of this number stands wherever a text of others can stand. */
export const placeOf = (index: number) => `hostile-${index}`;
export const peerOf = (index: number) => `hostile-person-${index}`;

function peer(index: number, text: string): PersonView {
  return {
    id: peerOf(index),
    username: `hostile${index}`,
    display_name: text,
    role: index % 3 === 0 ? text : null,
    avatar: null,
  };
}

/**
 * Fills the twin's world: each string of a part as name, title, text, quote, preview, notice, reaction's name, draft and
 * job.
 */
export function haunt(world: World, from = 0, to = HOSTILE.length): void {
  HOSTILE.slice(from, to).forEach((text, at) => {
    const index = from + at;
    const person = peer(index, text);
    const kind = index % 2 === 0 ? 'group' : 'direct';
    const { view, items } = world.add(placeOf(index), text, [person], kind);
    items.push({
      type: 'notice',
      id: `notice-${index}`,
      order: 0.5,
      ts: Date.now(),
      actor: person,
      what: { kind: 'title', text },
    });
    const first = world.push(view.id, person, text);
    const answer = world.push(view.id, person, text, { id: first.id, sender: person, text, deleted: false });
    answer.reactions = [{ emoji: '👍', count: 2, people: [person, person], mine: false }];
    items.splice(-1, 1, { type: 'message', ...answer });
    view.context = { kind: 'job', id: text.slice(0, 128) || 'x', title: text, link: 'https://example.org/' };
    if (index % 4 === 1) view.draft = text;
    if (index % 8 === 2) view.typing = [person];
    if (index % 8 === 6) view.draft_conflict = text;
    world.queue(view.id, text, { state: 'parked', code: 'not_allowed' });
  });
}

/** The same for what the twin answers without its world: each is found by a search, a device, a person, and blocked. */
export function hauntAnswers(fake: Fake): Fake {
  const now = Date.now();
  fake.search = async () => ({
    hits: HOSTILE.map((text, index) => ({
      conversation: placeOf(index),
      conversation_title: text,
      message: `hit-${index}`,
      sender: peer(index, text),
      ts: now,
      snippet: [
        { text, hit: false },
        { text, hit: true },
      ],
    })),
    more: false,
    searched: HOSTILE.length,
    total: HOSTILE.length,
  });
  fake.findPeople = async () => HOSTILE.map((text, index) => peer(index, text));
  // Nobody of the list: who is blocked there is not written to.
  fake.blockedPeople = async () => HOSTILE.map((text, index) => peer(HOSTILE.length + index, text));
  fake.sessions = async () =>
    HOSTILE.map((name, index) => ({
      device: `device-${index}`,
      name,
      created_at: now,
      last_seen: now,
      current: false,
    }));
  return fake;
}
