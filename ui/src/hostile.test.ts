import { fireEvent, render, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import ToastList from './components/ui/ToastList.svelte';
import { HOSTILE, haunt, hauntAnswers, placeOf } from './hostile';
import { judge } from './judge';
import { plain } from './lib/markup';
import { settled, start } from './test-kit';

const rowOf = (index: number) =>
  document.querySelector<HTMLElement>(`[data-testid=conversation-row][data-id="${placeOf(index)}"]`);
const clean = (what: string) => expect(judge(document), what).toEqual([]);
const bare = (text: string | null | undefined) => (text ?? '').replace(/\s/g, '');

/** What a message says, without the hosts that are put behind its links. */
function said(message: Element): string {
  const hosts = [...message.querySelectorAll('[data-testid=link-host]')];
  return hosts.reduce(
    (text, host) => text.replace(host.textContent ?? '', ''),
    message.querySelector('[data-testid=message-text]')?.textContent ?? '',
  );
}

async function haunted(from = 0, to = HOSTILE.length) {
  await start({ history: 3, fill: (world) => haunt(world, from, to) });
  await waitFor(() => expect(rowOf(to - 1)).not.toBeNull());
}

/** So many conversations of a world are opened: the longer its list, the slower it is. */
const PART = 25;
const PARTS = HOSTILE.flatMap((_, index) => (index % PART === 0 ? [index] : []));

describe('hostile texts', () => {
  it('sec_062 are many, and all different', () => {
    expect(HOSTILE.length).toBeGreaterThanOrEqual(150);
    expect(new Set(HOSTILE).size).toBe(HOSTILE.length);
  });

  it('sec_062 are nothing but text in the list: names, titles, previews, drafts', async () => {
    await haunted();
    // A long list is drawn as far as it is scrolled.
    const list = screen.getByTestId('conversation-list');
    for (let before = -1; before !== screen.getAllByTestId('conversation-row').length;) {
      before = screen.getAllByTestId('conversation-row').length;
      await fireEvent.scroll(list);
    }
    HOSTILE.forEach((text, index) => {
      expect(rowOf(index)?.querySelector('[data-testid=conversation-title]')?.textContent).toBe(text);
    });
    clean('the list');
  });

  it.each(PARTS)('sec_062 are nothing but text in a conversation: from %i on', async (from) => {
    const texts = HOSTILE.slice(from, from + PART);
    await haunted(from, from + texts.length);
    for (const [at, text] of texts.entries()) {
      await fireEvent.click(rowOf(from + at) as HTMLElement);
      await waitFor(() => {
        expect(screen.getByTestId('header-title').textContent).toBe(text);
        expect(screen.getAllByTestId('message')).toHaveLength(2);
      });
      for (const message of screen.getAllByTestId('message')) {
        expect(bare(said(message)), text).toBe(bare(plain(text)));
      }
      expect(bare(document.querySelector('.quote strong')?.textContent)).toBe(bare(text));
      expect(judge(document.querySelector('.content') as Element), text).toEqual([]);
    }
    clean('the last');
    await fireEvent.click(screen.getAllByTestId('unsent-button')[0] as HTMLElement);
    await waitFor(() => expect(screen.getAllByTestId('unsent-item')).toHaveLength(texts.length));
    clean('what is unsent');
  });

  it('sec_062 are nothing but text in what a search finds', async () => {
    hauntAnswers(await start());
    await fireEvent.input(screen.getByTestId('search-input'), { target: { value: 'alert' } });
    await waitFor(() => expect(screen.getAllByTestId('search-hit')).toHaveLength(HOSTILE.length));
    clean('search');
  });

  it('sec_062 are nothing but text among people and devices', async () => {
    hauntAnswers(await start());
    await fireEvent.keyDown(window, { key: 'n', ctrlKey: true });
    await waitFor(() => expect(screen.getAllByTestId('person-row')).toHaveLength(HOSTILE.length));
    clean('people');
    await fireEvent.click(screen.getByLabelText('Close'));
    await fireEvent.click(screen.getByTestId('settings-button'));
    await waitFor(() => expect(document.querySelectorAll('article li')).toHaveLength(HOSTILE.length));
    clean('devices');
  });

  it('sec_062 are nothing but text in a toast', async () => {
    const toasts = HOSTILE.map((text, id) => ({ id, kind: 'error' as const, text }));
    render(ToastList, { toasts, ondismiss: () => undefined });
    expect(screen.getAllByTestId('toast').map((each) => each.textContent?.trim())).toEqual(
      HOSTILE.map((text) => text.trim()),
    );
    clean('toasts');
  });

  it('sec_062 are found by the judge if they ever become more', async () => {
    await haunted(0, 3);
    for (const [tag, attribute, value] of [
      ['img', 'src', 'x'],
      ['script', 'src', 'https://evil.example/x.js'],
      ['iframe', 'srcdoc', 'x'],
      ['a', 'href', 'javascript:alert(1)'],
      ['a', 'href', 'data:text/html,x'],
      ['div', 'onclick', 'alert(1)'],
      ['div', 'style', 'position: fixed'],
      ['form', 'action', 'https://evil.example'],
      ['button', 'formaction', 'javascript:alert(1)'],
    ] as const) {
      const element = document.createElement(tag);
      element.setAttribute(attribute, value);
      document.body.append(element);
      expect(judge(document).length, `${tag} ${attribute}`).toBeGreaterThan(0);
      element.remove();
    }
    document.body.append(document.createElementNS('http://www.w3.org/2000/svg', 'svg'));
    expect(judge(document)).toHaveLength(1);
    document.body.lastElementChild?.remove();
    clean('what was there before');
  });
});

describe('what is dropped', () => {
  it('sec_052 never takes the place of the page', async () => {
    await start();
    await settled();
    const drop = (target: EventTarget, types: string[], name: string) => {
      const event = new Event(name, { bubbles: true, cancelable: true });
      Object.assign(event, { dataTransfer: { types } });
      return !target.dispatchEvent(event);
    };
    const field = screen.getByTestId('search-input');
    for (const name of ['dragover', 'drop']) {
      expect(drop(document.body, ['text/uri-list'], name)).toBe(true);
      expect(drop(document.body, ['Files'], name)).toBe(true);
      expect(drop(field, ['Files'], name)).toBe(true);
      expect(drop(field, ['text/plain'], name), 'text may be dropped into a field').toBe(false);
    }
  });
});
