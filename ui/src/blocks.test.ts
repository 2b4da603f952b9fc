import { fireEvent, screen, waitFor, within } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import type { FakeOptions } from './lib/ipc/fake';
import type { World } from './lib/ipc/fake/world';
import { open, start } from './test-kit';

async function details(id: string, options: FakeOptions = {}) {
  const shell = await start(options);
  await open(id);
  await fireEvent.click(screen.getByTestId('details-button'));
  const dialog = await screen.findByRole('dialog');
  await within(dialog).findAllByTestId('person-row');
  return { shell, dialog: within(dialog) };
}

const button = (name: string | RegExp) => screen.getByRole('button', { name });
const addedByCleo = (world: World) => void world.addedBy.set('c5', 'p2');

describe('leaving a group', () => {
  it('offers to block who added the user, in one step', async () => {
    const { shell, dialog } = await details('c5', { fill: addedByCleo });
    const leave = vi.spyOn(shell, 'leaveAndBlock');
    await fireEvent.click(button('Leave…'));
    const box = dialog.getByLabelText('Person to block (optional)') as HTMLSelectElement;
    expect(box.selectedOptions[0]?.textContent).toMatch(/^\s*Cleo.*added you/);
    await fireEvent.click(button(/^Leave and block Cleo/));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    expect(leave).toHaveBeenCalledWith('c5', 'p2');
    expect((await shell.blockedPeople()).map(({ id }) => id)).toEqual(['p2']);
    await waitFor(() => expect(screen.queryByTestId('composer-input')).toBeNull());
  });

  it('blocks whom the user chooses where nobody is known to have added them', async () => {
    const { shell, dialog } = await details('c5');
    await fireEvent.click(button('Leave…'));
    expect(screen.queryByRole('button', { name: /Leave and block/ })).toBeNull();
    await fireEvent.change(dialog.getByLabelText('Person to block (optional)'), { target: { value: 'p5' } });
    await fireEvent.click(button('Leave and block Dana'));
    await waitFor(async () => expect((await shell.blockedPeople()).map(({ id }) => id)).toEqual(['p5']));
  });

  it('changes nothing without a connection, says so, and can be done without a block', async () => {
    const { shell } = await details('c5', { fill: addedByCleo });
    shell.online(false);
    await fireEvent.click(button('Leave…'));
    await fireEvent.click(button(/^Leave and block/));
    expect((await screen.findByRole('alert')).textContent).toMatch(/need a connection. Nothing was changed/);
    expect((await shell.conversation('c5')).conversation.my_role).not.toBeNull();
    await fireEvent.click(button('Leave the group'));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    expect((await shell.conversation('c5')).conversation.my_role).toBeNull();
  });
});

describe('blocking in a direct conversation', () => {
  it('asks first, then closes it to both until the block ends', async () => {
    const { shell, dialog } = await details('c1');
    const block = vi.spyOn(shell, 'block');
    await fireEvent.click(button(/^Block Bo Nilsson\s?…$/));
    expect(dialog.getByText(/neither of you can message/).textContent).toContain("Kith doesn't tell");
    await fireEvent.click(button('Cancel'));
    expect(block).not.toHaveBeenCalled();
    await fireEvent.click(button(/^Block Bo Nilsson\s?…$/));
    await fireEvent.click(button('Block Bo Nilsson'));
    await dialog.findByText(/You blocked/);
    expect(block).toHaveBeenCalledWith('p1');
    await fireEvent.click(button('Close'));
    const note = within(await screen.findByTestId('blocked-note'));
    expect(screen.queryByTestId('composer-input')).toBeNull();
    await fireEvent.click(note.getByRole('button', { name: 'Unblock' }));
    await screen.findByTestId('composer-input');
    expect(await shell.blockedPeople()).toEqual([]);
  });

  it.each([
    ['offline', /need a connection. Nothing was changed/],
    ['unavailable', /Nothing was changed. Try again/],
    ['too_large', /at most 1,000 people. Unblock someone/],
  ])('says after %s what to do next', async (code, text) => {
    await details('c1', { failing: { block: code } });
    await fireEvent.click(button(/^Block Bo Nilsson\s?…$/));
    await fireEvent.click(button('Block Bo Nilsson'));
    expect((await screen.findByRole('alert')).textContent).toMatch(text);
    expect(button('Block Bo Nilsson')).toBeTruthy();
  });

  it('is known when the window starts, and asked for again with the network', async () => {
    const shell = await start({ fill: (world) => void world.blocked.add('p1') });
    shell.online(false);
    await open('c1');
    expect(screen.getByTestId('composer-input')).toBeTruthy();
    shell.online(true);
    await screen.findByTestId('blocked-note');
  });
});

describe('blocked people in the settings', () => {
  const list = async () => within(await screen.findByTestId('blocked-people'));

  async function settings(options: FakeOptions = {}, isOnline = true) {
    const shell = await start(options);
    shell.online(isOnline);
    await fireEvent.click(await screen.findByTestId('settings-button'));
    return shell;
  }

  it('are listed and can be unblocked', async () => {
    const shell = await settings({ fill: (world) => ['p1', 'p2'].forEach((id) => world.blocked.add(id)) });
    const blocked = await list();
    await waitFor(() => expect(blocked.getAllByTestId('person-row')).toHaveLength(2));
    await fireEvent.click(blocked.getByRole('button', { name: 'Unblock Bo Nilsson' }));
    await waitFor(() => expect(blocked.getAllByTestId('person-row')).toHaveLength(1));
    expect((await shell.blockedPeople()).map(({ id }) => id)).toEqual(['p2']);
  });

  it('say that there are none', async () => {
    await settings();
    expect(await (await list()).findByText(/haven't blocked anyone/)).toBeTruthy();
  });

  it('say what is wrong without a network, and are asked for again with it', async () => {
    const shell = await settings({ fill: (world) => void world.blocked.add('p1') }, false);
    const blocked = await list();
    expect(await blocked.findByText(/Can't reach the server/)).toBeTruthy();
    expect(blocked.getByRole('button', { name: 'Try again' })).toBeTruthy();
    shell.online(true);
    expect(await blocked.findByTestId('person-row')).toBeTruthy();
  });

  it('stay when an end of a block fails', async () => {
    await settings({ fill: (world) => void world.blocked.add('p1'), failing: { unblock: 'unavailable' } });
    const blocked = await list();
    await fireEvent.click(await blocked.findByRole('button', { name: 'Unblock Bo Nilsson' }));
    expect((await blocked.findByRole('alert')).textContent).toContain('Try again');
    expect(blocked.getAllByTestId('person-row')).toHaveLength(1);
  });
});
