import { screen, waitFor } from '@testing-library/svelte';
import { expect, it } from 'vitest';
import { start } from '../../test-kit';

it('says when messages are fetched instead of pushed, and when they are pushed again', async () => {
  const shell = await start();
  const line = () => screen.getAllByTestId('link-state')[0];
  await waitFor(() => expect(line()?.textContent).toMatch(/^\s*Connected\s*$/));
  shell.setPolling(true);
  await waitFor(() => expect(line()?.textContent).toContain('Connected, slower mode'));
  expect(line()?.querySelector('[title]')?.getAttribute('title')).toContain('every ten seconds');
  shell.setPolling(false);
  await waitFor(() => expect(line()?.textContent).toMatch(/^\s*Connected\s*$/));
});

it('says how much of the history is ready after an update, until all is', async () => {
  const shell = await start();
  shell.setRebuilding(40);
  await waitFor(() => expect(screen.getAllByTestId('rebuilding')[0]?.textContent).toContain('40 %'));
  shell.setRebuilding(null);
  await waitFor(() => expect(screen.queryAllByTestId('rebuilding')).toEqual([]));
});
