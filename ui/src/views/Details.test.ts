import { fireEvent, screen, waitFor, within } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { open, settled, start, write } from '../test-kit';

async function details(id: string, options = {}) {
  const shell = await start(options);
  await open(id);
  await fireEvent.click(screen.getByTestId('details-button'));
  const dialog = await screen.findByRole('dialog');
  await within(dialog).findAllByTestId('person-row');
  return { shell, dialog };
}

const member = (name: string) =>
  screen.getAllByTestId('person-row').find((row) => row.dataset.username === name) as HTMLElement;
const names = () => screen.getAllByTestId('person-row').map((row) => row.dataset.username);

describe("a group's details", () => {
  it('list the members with their roles', async () => {
    await details('c5');
    expect(names()).toEqual(['ada.lovelace', 'bo.nilsson', expect.stringContaining('cleo'), 'dana']);
    expect(member('ada.lovelace').textContent).toContain('Owner');
    expect((within(member('dana')).getByRole('combobox') as HTMLSelectElement).value).toBe('member');
  });

  it('change a role', async () => {
    const { shell } = await details('c5');
    const set = vi.spyOn(shell, 'setRole');
    const box = within(member('dana')).getByLabelText('Role of Dana') as HTMLSelectElement;
    await fireEvent.change(box, { target: { value: 'admin' } });
    expect(set).toHaveBeenCalledWith('c5', 'p5', 'admin');
    await waitFor(async () =>
      expect((await shell.conversation('c5')).members.at(-1)).toMatchObject({ role: 'admin' }),
    );
  });

  it('show the role that stands when a change was refused', async () => {
    await details('c5', { failing: { setRole: 'not_allowed' } });
    const box = within(member('dana')).getByLabelText('Role of Dana') as HTMLSelectElement;
    await fireEvent.change(box, { target: { value: 'admin' } });
    expect((await screen.findByTestId('toast')).textContent).toContain('not allowed');
    await waitFor(() => expect(box.value).toBe('member'));
  });

  it('add people who are not in it yet', async () => {
    const { dialog } = await details('c5');
    await fireEvent.click(screen.getByTestId('add-people'));
    const found = () =>
      within(dialog)
        .getAllByTestId('person-row')
        .filter((row) => row.hasAttribute('aria-pressed'));
    await waitFor(() => expect(found()).toHaveLength(2));
    await fireEvent.click(found()[0] as HTMLElement);
    await fireEvent.click(screen.getByRole('button', { name: 'Add to the group' }));
    await waitFor(() => expect(names()).toHaveLength(5));
    expect(screen.getByTestId('header-presence').textContent).toBe('5 members');
  });

  it('add nobody when that is cancelled', async () => {
    const { shell, dialog } = await details('c5');
    const added = vi.spyOn(shell, 'addMembers');
    await fireEvent.click(screen.getByTestId('add-people'));
    await waitFor(() => expect(dialog.querySelector('[aria-pressed]')).not.toBeNull());
    await fireEvent.click(dialog.querySelector('[aria-pressed]') as HTMLElement);
    await fireEvent.click(within(dialog).getByRole('button', { name: 'Cancel' }));
    expect(screen.queryByTestId('group-query')).toBeNull();
    await fireEvent.click(screen.getByTestId('add-people'));
    expect(dialog.querySelector('.chip')).toBeNull();
    expect(added).not.toHaveBeenCalled();
  });

  it('keep who was chosen when adding was refused', async () => {
    const { dialog } = await details('c5', { failing: { addMembers: 'offline' } });
    await fireEvent.click(screen.getByTestId('add-people'));
    const person = await waitFor(() => {
      const found = within(dialog).getAllByTestId('person-row').at(-1);
      expect(found?.hasAttribute('aria-pressed')).toBe(true);
      return found as HTMLElement;
    });
    await fireEvent.click(person);
    await fireEvent.click(screen.getByRole('button', { name: 'Add to the group' }));
    await screen.findByTestId('toast');
    expect(screen.getByRole('button', { name: 'Add to the group' })).toBeTruthy();
    expect(dialog.querySelector('.chip')).not.toBeNull();
  });

  it('remove a member after a question', async () => {
    const { shell } = await details('c5');
    const remove = vi.spyOn(shell, 'removeMember');
    await fireEvent.click(within(member('dana')).getByRole('button', { name: 'Remove Dana' }));
    expect(remove).not.toHaveBeenCalled();
    const asked = screen.getByTestId('remove-member');
    expect(asked.textContent).toContain('Remove Dana from the group?');
    const confirm = within(asked).getByRole('button', { name: 'Remove from group' }) as HTMLButtonElement;
    await waitFor(() => expect(confirm.disabled).toBe(false));
    await fireEvent.click(confirm);
    await waitFor(() => expect(names()).not.toContain('dana'));
    expect(remove).toHaveBeenCalledWith('c5', 'p5');
  });

  it('remove nobody by a double click: what confirms waits, and Cancel has the focus', async () => {
    const { shell } = await details('c5');
    const remove = vi.spyOn(shell, 'removeMember');
    const button = within(member('dana')).getByRole('button', { name: 'Remove Dana' }) as HTMLButtonElement;
    button.click();
    await settled();
    expect(button.isConnected && button.disabled).toBe(true);
    button.click();
    await settled();
    const asked = screen.getByTestId('remove-member');
    within(asked).getByRole('button', { name: 'Remove from group' }).click();
    await settled();
    expect(remove).not.toHaveBeenCalled();
    expect(within(asked).getAllByRole('button')[0]).toBe(document.activeElement);
    expect(document.activeElement?.textContent).toBe('Cancel');
    await fireEvent.click(document.activeElement as HTMLElement);
    expect(screen.queryByTestId('remove-member')).toBeNull();
    await waitFor(() => expect(document.activeElement).toBe(button));
    expect(remove).not.toHaveBeenCalled();
  });

  it('take a question back with Esc, and are closed by the next', async () => {
    const { dialog } = await details('c5');
    await fireEvent.click(within(member('dana')).getByRole('button', { name: 'Remove Dana' }));
    await fireEvent(dialog, new Event('cancel', { cancelable: true }));
    expect(screen.queryByTestId('remove-member')).toBeNull();
    expect(screen.queryByRole('dialog')).not.toBeNull();
    await fireEvent(dialog, new Event('cancel', { cancelable: true }));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  });

  it('rename the group', async () => {
    await details('c5');
    await write(screen.getByLabelText('Title'), '  Panel of Friday ');
    await fireEvent.click(screen.getByRole('button', { name: 'Rename' }));
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe('Panel of Friday'));
  });

  it('leave the group after a question; it stays to be read', async () => {
    const { shell } = await details('c5');
    const leave = vi.spyOn(shell, 'leave');
    await fireEvent.click(screen.getByRole('button', { name: 'Leave…' }));
    expect(leave).not.toHaveBeenCalled();
    await fireEvent.click(screen.getByRole('button', { name: 'Leave the group' }));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    await waitFor(() => expect(screen.queryByTestId('composer-input')).toBeNull());
    expect(screen.getAllByTestId('message').length).toBeGreaterThan(0);
  });

  it('offer a member nothing that only owners and admins may do', async () => {
    const { shell } = await details('c5');
    await shell.setRole('c5', 'me', 'member');
    shell.tell({ type: 'conversations_changed', conversations: ['c5'] });
    await waitFor(() => expect(screen.queryByTestId('add-people')).toBeNull());
    expect(screen.queryByRole('combobox')).toBeNull();
    expect(screen.queryByLabelText('Title')).toBeNull();
    expect(screen.getByRole('button', { name: 'Leave…' })).toBeTruthy();
  });
});

describe("a direct conversation's details", () => {
  it('show both people and nothing to manage', async () => {
    const { dialog } = await details('c1');
    expect(names()).toEqual(['ada.lovelace', 'bo.nilsson']);
    expect(within(dialog).queryByRole('button', { name: /Leave|Remove|Add/ })).toBeNull();
  });
});
