import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { menuOf, message, open, settled, start, texts, write } from './test-kit';

/** How browsers tell of an Enter that ends a composition; WebKit ends it before it tells of the key. */
const COMPOSED = [
  { key: 'Enter', isComposing: true },
  { key: 'Enter', isComposing: true, keyCode: 229 },
  { key: 'Enter', isComposing: false, keyCode: 229 },
  { key: 'Process', code: 'NumpadEnter', keyCode: 229 },
];

describe('an Enter that ends a composition', () => {
  it.each(COMPOSED)('sends no message: %o', async (key) => {
    const shell = await start();
    const send = vi.spyOn(shell, 'sendMessage');
    const area = await open('c2');
    await write(area, '\u306b\u307b\u3093');
    await fireEvent.compositionStart(area);
    await fireEvent.keyDown(area, key);
    await fireEvent.compositionEnd(area, { data: '\u65e5\u672c' });
    await fireEvent.keyDown(area, key);
    await settled();
    expect(send).not.toHaveBeenCalled();
    expect(area.value).not.toBe('');
    await fireEvent.keyDown(area, { key: 'Enter', keyCode: 13 });
    await waitFor(() => expect(send).toHaveBeenCalledOnce());
  });

  it.each(COMPOSED)('stores no edit, and Escape does not leave it: %o', async (key) => {
    const shell = await start();
    const area = await open('c2');
    const id = await shell.sendMessage('c2', 'before', null);
    const edit = vi.spyOn(shell, 'editMessage');
    const shown = await message('before');
    expect(shown.dataset.id).toBe(id);
    const menu = await menuOf(shown);
    await fireEvent.click(menu.edit as HTMLElement);
    await write(area, 'after');
    await fireEvent.keyDown(area, key);
    await fireEvent.keyDown(area, { ...key, key: 'Escape', code: 'Escape' });
    await settled();
    expect(edit).not.toHaveBeenCalled();
    expect(area.value).toBe('after');
    expect(texts()).toContain('before');
  });

  it.each(COMPOSED)('chooses nobody and sends no first message: %o', async (key) => {
    const shell = await start();
    const [find, begin] = [vi.spyOn(shell, 'findDirect'), vi.spyOn(shell, 'startDirect')];
    await fireEvent.click(await screen.findByTestId('new-chat-button'));
    const people = await screen.findAllByTestId('person-row');
    await fireEvent.keyDown(screen.getByTestId('new-chat-query'), key);
    await settled();
    expect(find).not.toHaveBeenCalled();
    await fireEvent.click(people.find((row) => row.dataset.username === 'dana') as HTMLElement);
    const first = await screen.findByTestId('first-message');
    await write(first, 'Hello');
    await fireEvent.keyDown(first, key);
    await settled();
    expect(begin).not.toHaveBeenCalled();
  });

  it.each(COMPOSED)('goes nowhere: %o', async (key) => {
    await start();
    await fireEvent.keyDown(window, { key: 'k', ctrlKey: true });
    const field = await screen.findByTestId('switcher-input');
    await write(field, 'Bo');
    await settled();
    await fireEvent.keyDown(field, key);
    await settled();
    expect(screen.queryByTestId('header-title')).toBeNull();
    expect(screen.queryByTestId('switcher-input')).not.toBeNull();
  });

  it.each(COMPOSED)('sends no form: %o', async (key) => {
    await start();
    await open('c5');
    const field = screen.getByTestId('search-input');
    const sent = await fireEvent.keyDown(field, key);
    if (key.key === 'Enter') expect(sent, 'its default would send a form').toBe(false);
  });
});

describe("the system's own menu", () => {
  it('opens in fields and on selected text, and nowhere else', async () => {
    await start();
    const area = await open('c2');
    const opens = (element: Element) => fireEvent.contextMenu(element);
    expect(await opens(area)).toBe(true);
    expect(await opens(screen.getByTestId('search-input'))).toBe(true);
    const title = screen.getByTestId('header-title');
    for (const element of [title, document.body, screen.getByTestId('timeline')]) {
      expect(await opens(element), element.tagName).toBe(false);
    }
    getSelection()?.selectAllChildren(title);
    expect(await opens(title)).toBe(true);
    expect(await opens(screen.getByTestId('settings-button'))).toBe(false);
    getSelection()?.removeAllRanges();
  });
});
