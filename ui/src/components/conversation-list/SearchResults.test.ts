import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { addNamesakes, BO_TOO } from '../../lib/ipc/fake/namesakes';
import type { World } from '../../lib/ipc/fake/world';
import { start } from '../../test-kit';

const type = async (value: string) =>
  fireEvent.input(await screen.findByTestId('search-input'), { target: { value } });

describe('the search', () => {
  it('ends a search that runs with the next key, and with none left', async () => {
    const shell = await start();
    const asked: string[] = [];
    vi.spyOn(shell, 'search').mockImplementation((query) => {
      asked.push(query);
      return new Promise(() => undefined); // one that takes its time
    });
    await type('sl');
    await waitFor(() => expect(asked).toEqual(['sl']));
    await type('slo');
    expect(asked).toEqual(['sl', '']);
    await waitFor(() => expect(asked).toEqual(['sl', '', 'slo']));
    await type('');
    expect(asked).toEqual(['sl', '', 'slo', '']);
  });

  it('ends nothing that has answered', async () => {
    const shell = await start();
    const search = vi.spyOn(shell, 'search');
    await type('invitation');
    await screen.findAllByTestId('search-hit');
    await type('');
    await waitFor(() => expect(screen.queryByTestId('search-hit')).toBeNull());
    expect(search).toHaveBeenCalledTimes(1);
  });

  it('shows what it found without the signs of the markup', async () => {
    const shell = await start();
    shell.receive('c2', '*Please* read `the` **green plan** and [the rest](https://example.org/)');
    await type('green');
    const [hit] = await screen.findAllByTestId('search-hit');
    expect(hit?.textContent).toContain('Please read the green plan and the rest');
    expect(hit?.querySelector('mark')?.textContent).toBe('green');
  });

  it('shortens a long name of who wrote it: a box that cuts it would count as a line of the text', async () => {
    const fill = (world: World) =>
      world.push('c2', { ...BO_TOO, display_name: 'Bo '.repeat(20) + 'Nilsson' }, 'the green plan');
    await start({ fill });
    await type('green');
    const sender = await screen.findByTestId('search-hit-sender');
    expect(sender.textContent).toBe('Bo Bo Bo Bo Bo Bo B…');
    expect(sender.className).not.toContain('ellipsis');
  });

  it('says by their handle who wrote what it found, where a name does not', async () => {
    await start({ fill: addNamesakes });
    await type('not met before');
    const [hit] = await screen.findAllByTestId('search-hit');
    await waitFor(() => expect(hit?.textContent).toContain(`@${BO_TOO.username}:`));
  });
});
