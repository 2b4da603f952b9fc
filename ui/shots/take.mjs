// Screenshots of the interface against its in-memory twin: `npm run shots`, then look at shots/out/.
import { chromium } from 'playwright-core';
import { createServer } from 'vite';

const STATES = [
  ['sign-in', 'signed-out', null],
  ['empty', 'empty', null],
  ['chat', '', async (page) => open(page, 'c1')],
  ['group', '', async (page) => open(page, 'c5')],
  ['rtl', '', async (page) => open(page, 'c4')],
  [
    'offline',
    'offline',
    async (page) => {
      await open(page, 'c1');
      await page.getByTestId('composer-input').fill('Written on the train');
      await page.keyboard.press('Enter');
      await page.locator('[data-testid=unsent-button]:visible').waitFor();
    },
  ],
  [
    'unsent',
    'offline',
    async (page) => {
      await open(page, 'c1');
      await page.getByTestId('composer-input').fill('Written on the train');
      await page.keyboard.press('Enter');
      await page.locator('[data-testid=unsent-button]:visible').click();
    },
  ],
  [
    'menu',
    '',
    async (page) => {
      await open(page, 'c1');
      await page.getByTestId('message').last().click({ button: 'right' });
    },
  ],
  [
    'search',
    '',
    async (page) => {
      await page.getByTestId('search-input').fill('tuesday');
      await page.getByTestId('search-hit').first().waitFor();
    },
  ],
  ['settings', '', async (page) => page.getByTestId('settings-button').click()],
  [
    'new-chat',
    '',
    async (page) => {
      await page.getByTestId('new-chat-button').click();
      await page.getByTestId('person-row').first().waitFor();
    },
  ],
];
const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 480, height: 800 } };

async function open(page, id) {
  await page.locator(`[data-testid=conversation-row][data-id=${id}]`).click();
  await page.getByTestId('message').first().waitFor();
}

const only = process.argv[2];
const server = await createServer({ server: { port: 0, strictPort: false } });
await server.listen();
const address = server.resolvedUrls.local[0];
const browser = await chromium.launch({
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
for (const scheme of ['light', 'dark']) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    const context = await browser.newContext({ viewport, colorScheme: scheme });
    for (const [name, query, act] of STATES) {
      if (only && only !== name) continue;
      const page = await context.newPage();
      page.on('pageerror', (error) => console.error(name, error.message));
      await page.goto(`${address}?fake&${query}`);
      await page.locator('#app > *').first().waitFor();
      if (act) await act(page);
      await page.evaluate(
        () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
      );
      await page.screenshot({ path: `shots/out/${name}-${size}-${scheme}.png` });
      await page.close();
    }
    await context.close();
  }
}
await browser.close();
await server.close();
