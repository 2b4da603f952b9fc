// The built interface in Chromium: served with the window's own policy, without a server, and watched.
import { readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { inject } from 'vitest';
import { judge } from '../src/judge.js';

const ORIGIN = 'http://tauri.localhost';
const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.woff2': 'font/woff2',
  '.svg': 'image/svg+xml',
};

/** The policy of the window. */
export const POLICY = JSON.parse(readFileSync('../src-tauri/tauri.conf.json', 'utf8')).app.security.csp;

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

/** Opens the interface; `seen` gathers whatever must not happen. */
export async function open(browser, { twin = true, viewport = { width: 1280, height: 800 } } = {}) {
  const folder = join(inject('built'), 'dist');
  const seen = { dialogs: [], requests: [], violations: [], errors: [], places: [], pages: 0 };
  const context = await browser.newContext({ viewport, serviceWorkers: 'block' });
  await context.route('**/*', (route) => {
    const url = new URL(route.request().url());
    if (url.origin !== ORIGIN) {
      seen.requests.push(url.href);
      return route.abort();
    }
    const path = url.pathname === '/' ? '/index.html' : url.pathname;
    let body;
    try {
      body = readFileSync(join(folder, path));
    } catch {
      seen.requests.push(url.href);
      return route.fulfill({ status: 404, body: '' });
    }
    const headers = { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' };
    return route.fulfill({ body, headers: { ...headers, 'content-security-policy': POLICY } });
  });
  const page = await context.newPage();
  context.on('page', (other) => {
    seen.pages += 1;
    void other.close();
  });
  page.on('dialog', (dialog) => {
    seen.dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  page.on('pageerror', (error) => seen.errors.push(error.message));
  page.on('websocket', (socket) => seen.requests.push(socket.url()));
  page.on('framenavigated', (frame) => seen.places.push(frame.url()));
  await page.exposeFunction('violated', (text) => seen.violations.push(text));
  await page.addInitScript(() =>
    addEventListener('securitypolicyviolation', (event) =>
      window.violated(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`),
    ),
  );
  if (twin) await page.addInitScript({ path: join(inject('built'), 'twin', 'twin.js') });
  await page.goto(`${ORIGIN}/`);
  if (twin) await wholeList(page);
  return { page, context, seen };
}

/** A long list is drawn as far as it is scrolled: to its end, and back. */
export async function wholeList(page) {
  const rows = page.getByTestId('conversation-row');
  await rows.first().waitFor();
  await page.getByTestId('conversation-list').evaluate(async (list) => {
    const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    for (let before = -1; before !== list.scrollHeight;) {
      before = list.scrollHeight;
      list.scrollTo(0, before);
      await drawn();
    }
    list.scrollTo(0, 0);
  });
}

/** What is drawn and does not belong there. */
export function judged(page, where = 'html') {
  return page.evaluate(`(${judge})(${where === 'html' ? 'document' : `document.querySelector('${where}')`})`);
}

/** Nothing of it has happened: the page is where it was, alone, and has asked nobody for anything. */
export const NOTHING = {
  dialogs: [],
  requests: [],
  violations: [],
  errors: [],
  places: [`${ORIGIN}/`],
  pages: 0,
};
