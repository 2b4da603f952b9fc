/** What the tests of the interface share: the window over the in-memory twin, and a layout for its timeline. */
import { fireEvent, render, screen, waitFor } from '@testing-library/svelte';
import { expect, vi } from 'vitest';
import Root from './Root.svelte';
import { createFake, type Fake, type FakeOptions } from './lib/ipc/fake';

/** Starts the interface; `before` gets the shell before anything is drawn. */
export async function start(options: FakeOptions = {}, before?: (shell: Fake) => void): Promise<Fake> {
  const shell = createFake({ history: 20, ...options });
  before?.(shell);
  render(Root, { shell });
  await waitFor(() => expect(document.querySelector('main')).not.toBeNull());
  return shell;
}

export async function row(id: string): Promise<HTMLElement> {
  return waitFor(() => {
    const found = document.querySelector<HTMLElement>(`[data-testid=conversation-row][data-id=${id}]`);
    expect(found).not.toBeNull();
    return found as HTMLElement;
  });
}

/** Opens a conversation and answers its composer. */
export async function open(id: string): Promise<HTMLTextAreaElement> {
  await fireEvent.click(await row(id));
  const area = (await screen.findByTestId('composer-input')) as HTMLTextAreaElement;
  await screen.findAllByTestId('message');
  return area;
}

export async function write(area: HTMLElement, text: string): Promise<void> {
  await fireEvent.input(area, { target: { value: text } });
}

export function texts(): (string | null)[] {
  return screen.getAllByTestId('message-text').map((element) => element.textContent);
}

/** The shown message with this text. */
export async function message(text: string): Promise<HTMLElement> {
  return waitFor(() => {
    const found = screen
      .getAllByTestId('message')
      .findLast((each) => each.querySelector('[data-testid=message-text]')?.textContent === text);
    expect(found).toBeDefined();
    return found as HTMLElement;
  });
}

/** Opens a message's menu and answers its actions by name. */
export async function menuOf(element: HTMLElement): Promise<Record<string, HTMLElement>> {
  await fireEvent.contextMenu(element);
  const items = screen.queryAllByTestId('menu-item');
  return Object.fromEntries(items.map((item) => [item.dataset.action, item]));
}

/** Lets everything that was told be drawn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((done) => setTimeout(done));
}

export const ROW_PX = 40;
export const VIEW_PX = 400;

/** Gives the timeline a layout, which jsdom has not: entries of one height under each other, in a box that scrolls. */
export function layOut(): void {
  const tops = new WeakMap<Element, number>();
  const isBox = (element: Element) => element.getAttribute('data-testid') === 'timeline';
  const rowsOf = (box: Element) => [...box.querySelectorAll('[data-order]')];
  const heightOf = (element: HTMLElement) => (isBox(element) ? rowsOf(element).length * ROW_PX : 0);

  vi.spyOn(Element.prototype, 'scrollHeight', 'get').mockImplementation(function (this: HTMLElement) {
    return heightOf(this);
  });
  vi.spyOn(Element.prototype, 'clientHeight', 'get').mockImplementation(function (this: Element) {
    return isBox(this) ? VIEW_PX : 0;
  });
  vi.spyOn(Element.prototype, 'scrollTop', 'get').mockImplementation(function (this: Element) {
    return tops.get(this) ?? 0;
  });
  vi.spyOn(Element.prototype, 'scrollTop', 'set').mockImplementation(function (this: HTMLElement, top) {
    tops.set(this, Math.max(0, Math.min(top, heightOf(this) - VIEW_PX)));
  });
  vi.spyOn(Element.prototype, 'getBoundingClientRect').mockImplementation(function (this: Element) {
    const box = this.closest('[data-testid=timeline]');
    if (!box) return new DOMRect();
    if (box === this) return new DOMRect(0, 0, 600, VIEW_PX);
    const entry = this.closest('[data-order]') ?? this.nextElementSibling;
    const index = rowsOf(box).indexOf(entry as Element);
    return new DOMRect(
      0,
      index * ROW_PX - (tops.get(box) ?? 0),
      600,
      entry === this.closest('[data-order]') ? ROW_PX : 0,
    );
  });
}

/** The window has the focus and is visible, or not. */
export function attend(isFocused: boolean, visibility: DocumentVisibilityState = 'visible'): void {
  vi.spyOn(document, 'hasFocus').mockReturnValue(isFocused);
  vi.spyOn(document, 'visibilityState', 'get').mockReturnValue(visibility);
}

export async function scrollTo(top: number): Promise<void> {
  const box = screen.getByTestId('timeline');
  box.scrollTop = top;
  await fireEvent.scroll(box);
  await settled();
}
