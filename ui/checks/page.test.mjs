// What the page may do under the window's policy, and what links, drops and the clipboard do to it.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { NOTHING, POLICY, judged, launch, open } from './browser.mjs';

let browser;
let page;
let context;
let seen;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser?.close());
beforeEach(async () => {
  ({ page, context, seen } = await open(browser));
});
afterEach(() => context?.close());

const openChat = () => page.locator('[data-testid=conversation-row][data-id=c1]').click();
const receive = (text) => page.evaluate((said) => window.twin.receive('c1', said), text);
const opened = () => page.evaluate(() => window.opened);

describe('the page under its policy', () => {
  it('sec_050 is whole without breaking it', async () => {
    await openChat();
    await page.getByRole('button', { name: 'Insert an emoji' }).click();
    await page.keyboard.press('Escape');
    await page.getByTestId('settings-button').click();
    await page.getByTestId('sign-out-button').waitFor();
    expect(await judged(page)).toEqual([]);
    expect(seen).toEqual(NOTHING);
  });

  it('sec_050 cannot be made to run, load or send anything', async () => {
    expect(POLICY).not.toMatch(/unsafe|\*|https:|data:/);
    const attempts = {
      'script-src-elem': () => {
        const script = document.createElement('script');
        script.textContent = 'window.injected = 1';
        document.body.append(script);
      },
      'script-src-attr': () => document.body.setAttribute('onclick', 'window.injected = 2'),
      // In a task of the page's own: what the test runs by itself may do this.
      'script-src': () =>
        void setTimeout(() => {
          try {
            new Function('window.injected = 3')();
          } catch {
            // as it should be
          }
        }),
      'style-src-elem': () => {
        const style = document.createElement('style');
        style.textContent = '*{display:none}';
        document.head.append(style);
      },
      'style-src-attr': () => document.body.setAttribute('style', 'display:none'),
      'img-src': () => (new Image().src = 'https://evil.example/pixel.png'),
      'connect-src': () => void fetch('https://evil.example/').catch(() => undefined),
      'frame-src': () => {
        const frame = document.createElement('iframe');
        frame.src = 'https://evil.example/';
        document.body.append(frame);
      },
      'object-src': () => {
        const object = document.createElement('object');
        object.data = 'https://evil.example/';
        document.body.append(object);
      },
      'media-src': () => (new Audio().src = 'https://evil.example/a.wav'),
      'font-src': () =>
        void new FontFace('x', 'url(https://evil.example/f.woff)').load().catch(() => undefined),
      'base-uri': () => {
        const base = document.createElement('base');
        base.href = 'https://evil.example/';
        document.head.append(base);
      },
      'form-action': () => {
        const form = document.createElement('form');
        form.action = 'https://evil.example/';
        document.body.append(form);
        form.submit();
      },
      'worker-src': () => {
        try {
          new Worker('https://evil.example/w.js');
        } catch {
          // elsewhere
        }
        new Worker(URL.createObjectURL(new Blob(['1'])));
      },
    };
    for (const [rule, attempt] of Object.entries(attempts)) {
      const before = seen.violations.length;
      await page.evaluate(attempt);
      const told = () => seen.violations.slice(before).some((text) => text.startsWith(rule));
      await expect.poll(told, { message: `${rule}: ${seen.violations.slice(before)}` }).toBe(true);
    }
    expect(await page.evaluate(() => window.injected)).toBeUndefined();
    expect(seen.requests).toEqual([]);
  });

  it('sec_052 stays where it is when a link or a file is dropped on it', async () => {
    await openChat();
    const session = await context.newCDPSession(page);
    for (const items of [
      [{ mimeType: 'text/uri-list', data: 'https://evil.example/' }],
      [{ mimeType: 'text/html', data: '<img src=https://evil.example/x>' }],
    ]) {
      for (const type of ['dragEnter', 'dragOver', 'drop']) {
        await session.send('Input.dispatchDragEvent', {
          type,
          x: 800,
          y: 300,
          data: { items, dragOperationsMask: 1 },
        });
      }
    }
    expect(await judged(page)).toEqual([]);
    expect(seen).toEqual(NOTHING);
  });

  it('sec_052 opens no window for a link, whatever button is used', async () => {
    await openChat();
    await receive('see https://example.org/a');
    const link = page.locator('a[href="https://example.org/a"]').last();
    await link.click();
    await link.click({ button: 'middle' });
    await link.click({ modifiers: ['Control'] });
    await link.click({ modifiers: ['Shift'] });
    await expect.poll(opened).toEqual(Array(3).fill('https://example.org/a'));
    expect(seen).toEqual(NOTHING);
  });

  it('sec_063 takes only the plain text of what is pasted', async () => {
    const other = await browser.newContext();
    const source = await other.newPage();
    await source.setContent(
      '<div id=x>a <b>bold</b> <img src=x onerror="alert(1)"><a href=https://evil.example>link</a></div>',
    );
    await source.evaluate(() => getSelection().selectAllChildren(document.getElementById('x')));
    await source.keyboard.press('Control+c');
    await openChat();
    await page.getByTestId('composer-input').focus();
    await page.keyboard.press('Control+v');
    expect(await page.getByTestId('composer-input').inputValue()).toMatch(/^a bold\s+link$/);
    expect(await page.getByTestId('composer-input').evaluate((area) => area.tagName)).toBe('TEXTAREA');
    await page.getByTestId('search-input').focus();
    await page.keyboard.press('Control+v');
    expect(await page.getByTestId('search-input').inputValue()).toMatch(/^a bold\s+link$/);
    expect(await page.locator('[contenteditable]').count()).toBe(0);
    expect(await judged(page)).toEqual([]);
    expect(seen).toEqual(NOTHING);
    await other.close();
  });

  it('sec_065 asks before a doubtful link, and Enter is the safe answer', async () => {
    await openChat();
    await receive('[https://bank.example](https://evil.example/login) https://\u0430pple.example/');
    await page.locator('a[href="https://evil.example/login"]').click();
    expect(await page.getByTestId('doubtful-host').textContent()).toBe('evil.example');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    expect(await opened()).toEqual([]);
    expect(await page.evaluate(() => document.activeElement.getAttribute('href'))).toBe(
      'https://evil.example/login',
    );
    await page.locator('a[href^="https://xn--"]').click();
    expect(await page.getByTestId('doubtful-host').textContent()).toBe('xn--pple-43d.example');
    await page.getByTestId('doubtful-open').click();
    await expect.poll(opened).toEqual(['https://xn--pple-43d.example/']);
    expect(seen).toEqual(NOTHING);
  });
});
