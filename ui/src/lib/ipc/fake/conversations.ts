/** The list's rows, their members, drafts and read markers. */
import type { Commands } from '../engine';
import { ME, byId } from './people';
import { refusal, type World } from './world';

export function conversations(world: World) {
  const findDirect = async (user: string) =>
    [...world.rows.values()].find(({ view }) => view.peer?.id === user)?.view.id ?? null;
  const openDirect = async (user: string) =>
    (await findDirect(user)) ??
    world.add(`d-${user}`, byId(user).display_name, [byId(user)], 'direct').view.id;

  const leave = async (id: string) => {
    const row = world.row(id);
    row.view.my_role = null;
    row.members = row.members.filter(({ person }) => person !== ME);
    world.changed(id);
  };

  return {
    conversations: async () => structuredClone(world.list()),
    async conversation(id) {
      const view = world.list().find((each) => each.id === id);
      if (!view) throw refusal('not_found');
      return { conversation: view, members: world.row(id).members, added_by: world.addedBy.get(id) ?? null };
    },
    findDirect,
    openDirect,
    async startDirect(user, text) {
      const id = await openDirect(user);
      world.push(id, ME, text);
      world.changed(id);
      return id;
    },
    async startDirectAbout(user, context, text) {
      const isNew = (await findDirect(user)) === null;
      const id = await openDirect(user);
      if (isNew) world.alter(id, { context });
      world.push(id, ME, text);
      world.changed(id);
      return id;
    },
    async createGroup(title, members) {
      const { id } = world.add(`g${world.next++}`, title, members.map(byId), 'group').view;
      world.changed(id);
      return id;
    },
    async addMembers(id, members) {
      const added = members.map((user) => ({ person: byId(user), role: 'member' as const, read: null }));
      world.row(id).members.push(...added);
      world.changed(id);
    },
    async removeMember(id, user) {
      const row = world.row(id);
      row.members = row.members.filter(({ person }) => person.id !== user);
      world.changed(id);
    },
    async setRole(id, user, role) {
      const row = world.row(id);
      row.members = row.members.map((each) => (each.person.id === user ? { ...each, role } : each));
      if (user === ME.id) row.view.my_role = role;
      world.changed(id);
    },
    async leaveAndBlock(id, user) {
      if (!world.isOnline) throw refusal('offline');
      world.blocked.add(user);
      await leave(id);
    },
    leave,
    setTitle: async (id, title) => world.alter(id, { title }),
    setMute: async (id, mute) => world.alter(id, { mute }),
    setPin: async (id, pin) => world.alter(id, { pin }),
    setArchive: async (id, archive) => world.alter(id, { archive }),
    setUnread: async (id, unread_flag) => world.alter(id, { unread_flag }),
    async hide(id) {
      world.rows.delete(id);
      world.changed(id);
    },
    async markRead(id, upTo) {
      if (world.isScreenLocked) throw refusal('screen_locked');
      const row = world.row(id);
      row.read = Math.max(row.read, upTo);
      world.tell({ type: 'conversations_changed', conversations: [id] });
    },
    setDraft: async (id, text) => world.alter(id, { draft: text || null }),
    keepDraft: async (id, text) => world.alter(id, { draft: text || null, draft_conflict: null }),
    setTyping: async () => undefined,
    setFocus: async () => undefined,
  } satisfies Partial<Commands>;
}
