import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { HOSTILE } from '../../hostile';
import { plain } from '../../lib/markup';
import { attend, message, open, row, settled, start, texts } from '../../test-kit';

const ELEMENTS = ['DIV', 'BLOCKQUOTE', 'UL', 'OL', 'LI', 'PRE', 'STRONG', 'EM', 'CODE', 'A', 'BDI'];
const ATTRIBUTES = [
  'class',
  'dir',
  'start',
  'href',
  'title',
  'data-testid',
  'tabindex',
  'role',
  'aria-label',
];

async function shown(text: string): Promise<HTMLElement> {
  const shell = await start();
  await open('c2');
  const id = shell.receive('c2', text);
  return waitFor(() => {
    const found = document.querySelector<HTMLElement>(`[data-id="${id}"] [data-testid=message-text]`);
    expect(found).not.toBeNull();
    return found as HTMLElement;
  });
}

describe('what a message says', () => {
  it('is text in a fixed set of elements, whatever it contains', async () => {
    const shell = await start();
    await open('c2');
    const ids = HOSTILE.map((text) => shell.receive('c2', text));
    await waitFor(() => expect(document.querySelector(`[data-id="${ids.at(-1)}"]`)).not.toBeNull());
    for (const [at, id] of ids.entries()) {
      const text = document.querySelector(`[data-id="${id}"] [data-testid=message-text]`) as HTMLElement;
      const host = [...text.querySelectorAll('[data-testid=link-host]')].map(
        (each) => each.textContent ?? '',
      );
      const said = host.reduce((whole, each) => whole.replace(each, ''), text.textContent ?? '');
      expect(said.replace(/\s/g, ''), HOSTILE[at]).toBe(plain(HOSTILE[at] as string).replace(/\s/g, ''));
      for (const element of text.querySelectorAll('*')) {
        expect(ELEMENTS, HOSTILE[at]).toContain(element.tagName);
        for (const { name } of element.attributes) expect(ATTRIBUTES, HOSTILE[at]).toContain(name);
        const href = element.getAttribute('href');
        if (href !== null) expect(href, HOSTILE[at]).toMatch(/^(https?|mailto|kith):/);
      }
    }
    expect(
      screen.getByTestId('timeline').querySelectorAll('script, iframe, img, form, style, link, [onerror]'),
    ).toHaveLength(0);
  });

  it('is as harmless in a name, a title, a preview, a quote and a draft', async () => {
    const shell = await start();
    const bad = HOSTILE[4] as string;
    await shell.setTitle('c5', bad);
    await shell.setDraft('c3', bad);
    await shell.setDisplayName(bad);
    const area = await open('c5');
    const first = screen.getAllByTestId('message')[0]?.dataset.id ?? '';
    await shell.editMessage(first, bad);
    await shell.sendMessage('c5', 'answer', first);
    await message('answer');
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe(bad));
    expect((await row('c3')).textContent).toContain(bad);
    expect(document.querySelector('.quote')?.textContent).toContain(bad);
    expect(area.ariaLabel).toBe(`Message to ${bad}`);
    await fireEvent.keyDown(window, { key: 'k', ctrlKey: true });
    await screen.findByTestId('switcher-input');
    expect(document.querySelectorAll('img, b')).toHaveLength(0);
  });

  it('is drawn with its markup', async () => {
    const text = await shown('**Yes**, _on_ `Tuesday`:\n> at ten\n- one\n- two\n3. three\n```\nlet a;\n```');
    const drawn = (tag: string) => [...text.querySelectorAll(tag)].map((each) => each.textContent);
    expect(drawn('strong')).toEqual(['Yes']);
    expect(drawn('em')).toEqual(['on']);
    expect(drawn('code')).toEqual(['Tuesday']);
    expect(drawn('blockquote')).toEqual(['at ten']);
    expect(drawn('li')).toEqual(['one', 'two', 'three']);
    expect(text.querySelector('ol')?.start).toBe(3);
    expect(drawn('pre')).toEqual(['let a;']);
  });

  it('keeps lines and blanks as they were written', async () => {
    await shown('one\n\n  two   three');
    expect(texts()).toContain('one\n\n  two   three');
  });

  it('is drawn in a moment, however it is nested', async () => {
    const shell = await start();
    await open('c2');
    const started = performance.now();
    for (const text of HOSTILE.filter((each) => each.length > 3_000)) shell.receive('c2', text);
    await settled();
    await waitFor(() => expect(screen.getAllByTestId('message').length).toBeGreaterThan(6));
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('is plain in the list and for a screen reader', async () => {
    attend(false);
    const shell = await start();
    await open('c2');
    shell.receive('c2', '**Yes**, see [the plan](https://example.org)');
    await waitFor(async () => expect((await row('c2')).textContent).toContain('Yes, see the plan'));
    expect((await message('Yes, see the plan (example.org)')).ariaLabel).toContain('Yes, see the plan');
  });
});

function linkTo(href: string): Promise<HTMLAnchorElement> {
  return waitFor(() => {
    const found = [...document.querySelectorAll('a')].find((each) => each.href === href);
    expect(found).toBeDefined();
    return found as HTMLAnchorElement;
  });
}

describe('a link in a message', () => {
  it('opens outside and says where it leads when its text does not', async () => {
    const text = await shown('[your bank](https://evil.example/a) https://example.org/');
    const [disguised, honest] = text.querySelectorAll('a');
    expect(disguised?.nextElementSibling?.textContent?.trim()).toBe('(evil.example)');
    expect(disguised?.title).toBe('Opens evil.example');
    expect(honest?.nextElementSibling).toBeNull();
  });

  it('is handed to the shell, and the window stays', async () => {
    const shell = await start();
    const opened = vi.spyOn(shell, 'openLink');
    await open('c2');
    shell.receive('c2', 'https://example.org/x');
    const link = await linkTo('https://example.org/x');
    const isLeft = await fireEvent.click(link);
    expect(isLeft).toBe(false);
    expect(opened).toHaveBeenCalledWith('https://example.org/x');
  });

  it('says so when it was refused', async () => {
    const shell = await start({ failing: { openLink: 'link_refused' } });
    await open('c2');
    shell.receive('c2', 'https://example.org/y');
    const link = await linkTo('https://example.org/y');
    await fireEvent.click(link);
    expect((await screen.findByTestId('toast')).textContent).toContain('not opened');
  });

  it('to a place in the app goes there without leaving it', async () => {
    const shell = await start();
    const opened = vi.spyOn(shell, 'openLink');
    await open('c2');
    shell.receive('c2', 'write to kith://start?with=dana please');
    const link = await linkTo('kith://start?with=dana');
    await fireEvent.click(link);
    expect(await screen.findByTestId('first-message')).toBeTruthy();
    expect(opened).not.toHaveBeenCalled();
  });
});
