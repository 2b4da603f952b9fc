import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import { BO } from '../../lib/ipc/fake/people';
import { start } from '../../test-kit';

const rows = () => screen.getAllByTestId('conversation-row');
const MANY = 300;

async function startWithMany() {
  const shell = await start({
    fill: (world) => {
      for (let at = 0; at < MANY; at += 1) world.add(`many${at}`, `Group ${at}`, [BO], 'group');
    },
  });
  await screen.findAllByTestId('conversation-row');
  return shell;
}

function scrollTo(list: HTMLElement, scrollTop: number, scrollHeight: number) {
  for (const [name, value] of Object.entries({ scrollTop, scrollHeight, clientHeight: 600 }))
    Object.defineProperty(list, name, { value, configurable: true });
  return fireEvent.scroll(list);
}

describe('a long list', () => {
  it('draws what is looked at and what comes next, not all of it', async () => {
    const shell = await startWithMany();
    const all = (await shell.conversations()).length;
    const list = screen.getByTestId('conversation-list');
    expect(rows().length).toBe(60);
    await scrollTo(list, 100, 5000);
    expect(rows().length, 'the end is far').toBe(60);
    await scrollTo(list, 4000, 5000);
    await waitFor(() => expect(rows().length).toBe(120));
    for (let turn = 0; turn < 10; turn += 1) await scrollTo(list, 4000, 5000);
    await waitFor(() => expect(rows().length).toBe(all));
  });

  it('always holds the row of the conversation that is open', async () => {
    const shell = await startWithMany();
    const last = (await shell.conversations()).at(-1)?.id as string;
    shell.follow({ kind: 'conversation', id: last, message: null });
    await waitFor(() => expect(document.querySelector(`[data-id=${last}][aria-current]`)).not.toBeNull());
  });
});
