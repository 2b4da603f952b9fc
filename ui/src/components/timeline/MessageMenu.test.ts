import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { menuOf, message, open, start, write } from '../../test-kit';

const first = () => screen.getAllByTestId('message')[0] as HTMLElement;
const own = () =>
  screen.getAllByTestId('message').findLast((each) => each.dataset.mine === 'true') as HTMLElement;
const reactions = () =>
  screen.queryAllByTestId('reaction').map((each) => [each.dataset.emoji, each.ariaPressed]);

async function act(element: HTMLElement, action: string): Promise<void> {
  const item = (await menuOf(element))[action];
  expect(item).toBeDefined();
  await fireEvent.click(item as HTMLElement);
}

describe("a message's menu", () => {
  it('offers for own messages what is not offered for those of others', async () => {
    await start();
    await open('c2');
    expect(Object.keys(await menuOf(own()))).toEqual(['reply', 'copy', 'edit', 'pin', 'delete']);
    await fireEvent.keyDown(screen.getByRole('menu'), { key: 'Escape' });
    expect(screen.queryByRole('menu')).toBeNull();
    expect(Object.keys(await menuOf(first()))).toEqual(['reply', 'copy', 'pin']);
  });

  it('does not exist for a deleted message, which has no actions', async () => {
    const shell = await start();
    await open('c2');
    const id = shell.receive('c2', 'said too much');
    const element = await message('said too much');
    await shell.deleteMessage('c2', id);
    await waitFor(() => expect(element.textContent).toContain('Message deleted'));
    expect(element.querySelector('[data-testid=message-menu-button]')).toBeNull();
    await fireEvent.contextMenu(element);
    await fireEvent.keyDown(element, { key: 'Enter' });
    expect(screen.queryByRole('menu')).toBeNull();
  });

  it('alone is closed by Esc, wherever the focus is', async () => {
    await start();
    await open('c2');
    await menuOf(first());
    (document.activeElement as HTMLElement).blur();
    await fireEvent.keyDown(document.body, { key: 'Escape' });
    await waitFor(() => expect(screen.queryByRole('menu')).toBeNull());
    expect(screen.getByTestId('composer-input')).toBeTruthy();
  });

  it('builds nothing upon what the server has lost', async () => {
    const shell = await start();
    await open('c2');
    const id = shell.receive('c2', 'said after the backup');
    shell.lose('c2', 1);
    const lost = await message('said after the backup');
    await waitFor(() => expect(lost.textContent).toContain('not on the server'));
    expect(lost.getAttribute('aria-label')).toContain('not on the server at present');
    expect(Object.keys(await menuOf(lost))).toEqual(['copy']);
    expect(screen.queryAllByTestId('reaction-choice')).toHaveLength(0);
    expect(lost.dataset.id).toBe(id);
  });

  it('replies with a quote that leads to the message', async () => {
    const shell = await start();
    const send = vi.spyOn(shell, 'sendMessage');
    const area = await open('c2');
    const target = first().dataset.id;
    await act(first(), 'reply');
    await write(area, 'an answer');
    await fireEvent.keyDown(area, { key: 'Enter' });
    const sent = await message('an answer');
    expect(send).toHaveBeenCalledWith('c2', 'an answer', target);
    await fireEvent.click(sent.querySelector('.quote') as HTMLElement);
    await waitFor(() => expect(document.querySelector(`[data-id="${target}"].marked`)).not.toBeNull());
  });

  it('edits in the composer and marks the message as edited', async () => {
    await start();
    const area = await open('c2');
    await act(own(), 'edit');
    expect(area.value).not.toBe('');
    await write(area, 'said better');
    await fireEvent.keyDown(area, { key: 'Enter' });
    expect((await message('said better')).textContent).toContain('edited');
  });

  it('deletes after a question, and only then', async () => {
    const shell = await start();
    const remove = vi.spyOn(shell, 'deleteMessage');
    await open('c2');
    const { id } = own().dataset;
    await act(own(), 'delete');
    expect((await screen.findByRole('dialog')).textContent).toContain('for everybody');
    await fireEvent.click(screen.getByRole('button', { name: 'Keep it' }));
    expect(remove).not.toHaveBeenCalled();
    await act(own(), 'delete');
    await fireEvent.click(await screen.findByTestId('delete-confirm'));
    await waitFor(() =>
      expect(document.querySelector(`[data-id="${id}"]`)?.textContent).toContain('Message deleted'),
    );
    expect(screen.queryByRole('dialog')).toBeNull();
  });

  it('puts an emoji on a message and takes it back', async () => {
    await start();
    await open('c2');
    await menuOf(first());
    await fireEvent.click(screen.getAllByTestId('reaction-choice')[0] as HTMLElement);
    await waitFor(() => expect(reactions()).toEqual([['👍', 'true']]));
    await fireEvent.click(screen.getByTestId('reaction'));
    await waitFor(() => expect(reactions()).toEqual([]));
  });

  it('pins and unpins', async () => {
    await start();
    await open('c2');
    await act(first(), 'pin');
    await waitFor(() => expect(first().querySelector('[aria-label=Pinned]')).not.toBeNull());
    await act(first(), 'unpin');
    await waitFor(() => expect(first().querySelector('[aria-label=Pinned]')).toBeNull());
  });

  it('names the conversation in all that it asks for', async () => {
    const shell = await start();
    const spies = (['react', 'pinMessage', 'editMessage', 'deleteMessage'] as const).map((name) =>
      vi.spyOn(shell, name),
    );
    const area = await open('c2');
    const id = own().dataset.id as string;
    await menuOf(own());
    await fireEvent.click(screen.getAllByTestId('reaction-choice')[0] as HTMLElement);
    await fireEvent.click(await screen.findByTestId('reaction'));
    await act(own(), 'pin');
    await act(own(), 'edit');
    await write(area, 'said better');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await message('said better');
    await act(own(), 'delete');
    await fireEvent.click(await screen.findByTestId('delete-confirm'));
    const asked = spies.flatMap((spy) => spy.mock.calls.map((call) => call.slice(0, 2)));
    expect(asked).toEqual(Array.from({ length: 5 }, () => ['c2', id]));
  });

  it('opens with the keyboard and is walked with the arrow keys', async () => {
    await start();
    await open('c2');
    own().focus();
    await fireEvent.keyDown(own(), { key: 'Enter' });
    const menu = screen.getByRole('menu');
    const items = [...menu.querySelectorAll('[role=menuitem]')];
    expect(document.activeElement).toBe(items[0]);
    await fireEvent.keyDown(menu, { key: 'ArrowUp' });
    expect(document.activeElement).toBe(items.at(-1));
    await fireEvent.keyDown(menu, { key: 'Escape' });
    expect(document.activeElement).toBe(own());
  });

  it('has nothing to write with in a conversation that was left', async () => {
    const shell = await start();
    await open('c5');
    await shell.leave('c5');
    await waitFor(() => expect(screen.queryByTestId('composer-input')).toBeNull());
    expect(Object.keys(await menuOf(first()))).toEqual(['copy']);
    expect(screen.queryAllByTestId('reaction-choice')).toEqual([]);
  });
});

describe('the menu of a message that is not sent', () => {
  it('lets what waits be answered, changed and dropped, and says where it waits', async () => {
    const shell = await start();
    const area = await open('c2');
    shell.online(false);
    await write(area, 'waits');
    await fireEvent.keyDown(area, { key: 'Enter' });
    const waiting = await message('waits');
    expect(waiting.dataset.state).toBe('queued');
    expect(Object.keys(await menuOf(waiting))).toEqual(['reply', 'copy', 'edit', 'pin', 'unsent', 'delete']);
    await act(waiting, 'delete');
    const question = await screen.findByRole('dialog');
    expect(question.textContent).toContain('not sent');
    expect(question.textContent).not.toContain('for everybody');
  });

  it('lets what was refused be changed and dropped, but not built upon', async () => {
    const shell = await start();
    await open('c2');
    shell.refuse('c2', 'refused', 'not_allowed');
    const failed = await message('refused');
    expect(failed.dataset.state).toBe('failed');
    expect(failed.querySelector('.tick')?.ariaLabel).toContain('Not sent');
    expect(failed.querySelector('.meta')?.textContent).toContain('Not sent');
    expect(Object.keys(await menuOf(failed))).toEqual(['copy', 'edit', 'unsent', 'delete']);
    expect(screen.queryAllByTestId('reaction-choice')).toEqual([]);
    await act(failed, 'unsent');
    const item = await screen.findByTestId('unsent-item');
    expect(item.dataset.state).toBe('parked');
    expect(item.textContent).toContain('not allowed');
  });
});
