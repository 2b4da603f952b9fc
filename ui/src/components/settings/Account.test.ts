import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { start } from '../../test-kit';

async function settings(options = {}) {
  const shell = await start(options);
  await fireEvent.click(await screen.findByTestId('settings-button'));
  await screen.findByText('Old computer');
  return shell;
}

const box = () => screen.findByTestId<HTMLInputElement>('show-presence');

describe('showing presence', () => {
  it('is on until the user switches it off', async () => {
    const shell = await settings();
    const set = vi.spyOn(shell, 'setShowsPresence');
    expect((await box()).checked).toBe(true);
    await fireEvent.click(await box());
    expect(set).toHaveBeenCalledWith(false);
    await waitFor(async () => expect(await shell.showsPresence()).toBe(false));
    expect((await box()).checked).toBe(false);
  });

  it('goes back when the server cannot be reached', async () => {
    await settings({ failing: { setShowsPresence: 'offline' } });
    await fireEvent.click(await box());
    await waitFor(async () => expect((await box()).checked).toBe(true));
  });

  it('is not offered while it is unknown, and asked for again with the network', async () => {
    const shell = await start();
    shell.online(false);
    const ask = vi.spyOn(shell, 'showsPresence').mockRejectedValue({ code: 'offline' });
    await fireEvent.click(await screen.findByTestId('settings-button'));
    await waitFor(() => expect(ask).toHaveBeenCalled());
    expect(screen.queryByTestId('show-presence')).toBeNull();
    ask.mockRestore();
    shell.online(true);
    expect((await box()).checked).toBe(true);
  });
});
