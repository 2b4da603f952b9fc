// Screenshots of the interface against its in-memory twin, each looked over by axe: `npm run shots [state,…]`, then look
// at shots/out/. It fails when axe finds something or the page reports an error.
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { createServer } from 'vite';
import { STATES } from './states.mjs';

const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 480, height: 800 } };
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const findings = [];

async function look(page, [, query, act], label) {
  page.on('pageerror', (error) => findings.push(`${label}: ${error.message}`));
  await page.goto(`${address}?fake&${query}`);
  await page.locator('#app > *').first().waitFor();
  if (act) await act(page);
  // What moves and fades is not measured half way.
  await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    await Promise.all(document.getAnimations().map((each) => each.finished.catch(() => undefined)));
  });
  await page.screenshot({ path: `shots/out/${label}.png` });
  await page.addScriptTag({ path: AXE });
  const { violations } = await page.evaluate(() => window.axe.run());
  for (const { id, help, nodes } of violations) {
    const where = nodes.map((node) => `    ${node.target.join(' ')} ${node.any[0]?.message ?? ''}`);
    findings.push(`${label}: ${id}: ${help}\n${where.join('\n')}`);
  }
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
    for (const state of STATES) {
      if (only && !only.split(',').includes(state[0])) continue;
      const page = await context.newPage();
      const label = `${state[0]}-${size}-${scheme}`;
      await look(page, state, label).catch((error) => findings.push(`${label}: ${error.message}`));
      await page.close();
    }
    await context.close();
  }
}
await browser.close();
await server.close();
for (const finding of findings) console.error(finding);
if (findings.length > 0) process.exitCode = 1;
