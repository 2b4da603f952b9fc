/** The state of sync. */
import type { Commands, Counter } from '../engine';
import type { World } from './world';

const COUNTS: Record<Counter, number> = {
  gap_pulls: 3,
  full_heads: 41,
  duplicates: 2,
  forks: 0,
  orphans: 0,
  checks: 128,
  repairs: 0,
  driver_restarts: 0,
  writer_restarts: 0,
};

export function diagnostics(world: World) {
  let checkedAt: number | null = null;
  return {
    async diagnostics() {
      const status = world.status();
      const logs = world.list().map((view) => ({
        conversation: view.id,
        title: view.title,
        in_sync_to: world.row(view.id).items.length,
        head: world.row(view.id).items.length + (world.isOnline ? 0 : 2),
        missing: world.isOnline ? 0 : 2,
        older: 0,
      }));
      return {
        app: 'kith/0.1.0',
        server: 'https://chat.example.org',
        device: 'd1',
        epoch: '5e1f',
        link: status.link,
        at: Date.now(),
        checked_at: checkedAt,
        file_bytes: 1_843_200,
        waiting: status.unsent - status.parked,
        parked: status.parked,
        conversations: logs.length,
        incomplete: logs.filter((log) => log.missing > 0).length,
        logs,
        counters: Object.entries(COUNTS).map(([counter, count]) => ({ counter: counter as Counter, count })),
      };
    },
    async checkNow() {
      checkedAt = Date.now();
    },
  } satisfies Partial<Commands>;
}
