// Every hostile string in every place where a text of others is shown, in Chromium, under the window's policy.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { NOTHING, judged, launch, open, wholeList } from './browser.mjs';

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

/** Two frames, so that whatever is loaded or run by what was drawn has begun. */
const drawn = () =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

async function clean(what) {
  await drawn();
  expect(await judged(page), what).toEqual([]);
  expect(seen, what).toEqual(NOTHING);
}

async function overlay(key) {
  await page.keyboard.press('Escape');
  await page.locator('body').click({ position: { x: 640, y: 790 } });
  await page.keyboard.press(key);
}

describe('hostile texts in the built interface', () => {
  it('sec_062 as names, titles, previews and drafts in the list are nothing but text', async () => {
    const hostile = await page.evaluate(() => window.hostile);
    expect(hostile.length).toBeGreaterThanOrEqual(150);
    await clean('the list');
    const titles = await page.evaluate(() =>
      window.hostile.map((_, index) => {
        const row = document.querySelector(`[data-id="hostile-${index}"] [data-testid=conversation-title]`);
        return row?.textContent;
      }),
    );
    expect(titles).toEqual(hostile);
  });

  it('sec_062 as messages, quotes, notices and reactions are nothing but text', async () => {
    const count = await page.evaluate(() => window.hostile.length);
    for (let index = 0; index < count; index += 1) {
      const shown = await page.evaluate(async (at) => {
        const text = window.hostile[at];
        document.querySelector(`[data-testid=conversation-row][data-id="hostile-${at}"]`).click();
        const header = () => document.querySelector('[data-testid=header-title]');
        const texts = () => [...document.querySelectorAll('[data-testid=message-text]')];
        const isShown = () => header()?.textContent === text && texts().length === 2;
        while (!isShown()) await new Promise((done) => setTimeout(done, 5));
        const host = (each) => [...each.querySelectorAll('[data-testid=link-host]')];
        return texts().map((each) =>
          host(each).reduce((whole, { textContent }) => whole.replace(textContent, ''), each.textContent),
        );
      }, index);
      const findings = await judged(page, '.content');
      if (findings.length > 0)
        expect(findings, await page.evaluate((at) => window.hostile[at], index)).toEqual([]);
      expect(shown[0]).toBe(shown[1]);
    }
    await clean('the timelines');
  });

  it('sec_062 as what a search finds, people, members, devices and unsent items are nothing but text', async () => {
    await page.getByTestId('search-input').fill('alert');
    await page.getByTestId('search-hit').nth(149).waitFor();
    await clean('search');
    await page.getByTestId('search-input').fill('');
    await wholeList(page);
    await page.locator('[data-testid=conversation-row][data-id=hostile-0]').click();
    await page.evaluate(() => {
      const members = window.hostile.map((text, index) => ({
        person: { id: `p${index}`, username: `p${index}`, display_name: text, role: text, avatar: null },
        role: 'member',
        read: null,
      }));
      const before = window.twin.conversation;
      window.twin.conversation = async (id) => ({ ...(await before(id)), members });
    });
    await page.getByTestId('details-button').click();
    await page.locator('dialog [data-testid=person-row]').nth(149).waitFor();
    await page.getByRole('button', { name: 'Leave…' }).click();
    await page.getByTestId('leave-group').waitFor();
    await clean('details');
    await overlay('Control+k');
    await page.getByTestId('switcher-input').fill('alert');
    await page.locator('[data-testid=switcher-item][data-kind=person]').first().waitFor();
    await clean('switcher');
    await overlay('Control+n');
    await page.getByTestId('new-chat-query').fill('alert');
    await page.locator('dialog [data-testid=person-row]').nth(149).waitFor();
    await clean('new chat');
    await overlay('Control+,');
    await page.getByText('last seen').nth(149).waitFor();
    await page
      .getByRole('button', { name: /^Unblock/ })
      .nth(149)
      .waitFor();
    await clean('settings');
    await overlay('Escape');
    await page.locator('[data-testid=unsent-button]:visible').click();
    await page.getByTestId('unsent-item').nth(149).waitFor();
    await clean('unsent');
  });

  it('sec_062 as what is being answered, edited and written are nothing but text', async () => {
    for (let index = 0; index < 216; index += 27) {
      await page.locator(`[data-testid=conversation-row][data-id=hostile-${index}]`).click();
      await page.getByTestId('message').last().click({ button: 'right' });
      await page.locator('[data-action=reply]').click();
      await clean(`the answer to ${index}`);
      await page.getByTestId('composer-input').fill(await page.evaluate((at) => window.hostile[at], index));
      await page.keyboard.press('Enter');
      await page.locator('[data-testid=message][data-mine=true]').last().waitFor();
      await page.keyboard.press('ArrowUp');
      await clean(`the edit of ${index}`);
      await page.keyboard.press('Escape');
    }
  });

  it('sec_069 load nothing from anywhere, and the policy would let nothing be loaded', async () => {
    await page.getByTestId('search-input').fill('evil');
    await page.getByTestId('search-hit').nth(149).waitFor();
    await clean('all of them');
    expect(await page.locator('img, picture, video, audio, image, iframe, object, embed').count()).toBe(0);
    // The judge and the watch see it when there is something to see.
    await page.evaluate(() => {
      const image = document.createElement('img');
      image.src = 'https://evil.example/pixel.png';
      document.querySelector('.content').append(image);
    });
    await drawn();
    expect(await judged(page)).toHaveLength(2);
    await expect.poll(() => seen.violations.join()).toMatch(/^img-src https:\/\/evil\.example/);
    expect(seen.requests).toEqual([]);
  });
});
