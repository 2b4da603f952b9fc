import { screen } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import type { TimelineItem } from '../../lib/ipc/engine';
import { CLEO, ME } from '../../lib/ipc/fake/people';
import { open, start } from '../../test-kit';

describe('a notice', () => {
  it('of a kind that this version does not know says so, and nothing of what it holds', async () => {
    const unknown: TimelineItem = {
      type: 'notice',
      id: 'n9',
      order: 3.5,
      ts: Date.now(),
      actor: CLEO,
      what: { kind: 'unknown', name: 'poll_of_a_later_version' },
    };
    await start({ fill: (world) => world.row('c2').items.push(unknown) });
    await open('c2');
    const notice = await screen.findByText(/this version cannot show/);
    expect(notice.textContent).toBe(
      `${CLEO.display_name} did something that this version cannot show. Update Kith to see it.`,
    );
    expect(notice.getAttribute('role')).toBe('listitem');
    expect(document.body.textContent).not.toContain('poll_of_a_later_version');
  });

  it.each([
    ['admin', 'made you an admin'],
    ['member', 'made you a member'],
  ] as const)('of a new role %s has its article', async (role, text) => {
    const change: TimelineItem = {
      type: 'notice',
      id: 'n9',
      order: 3.5,
      ts: Date.now(),
      actor: CLEO,
      what: { kind: 'member', change: 'role', user: ME, role },
    };
    await start({ fill: (world) => world.row('c2').items.push(change) });
    await open('c2');
    expect((await screen.findByText(/made you/)).textContent).toContain(text);
  });
});
