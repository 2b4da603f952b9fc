// What is in the build, and what the development server is open to.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'vite';
import { beforeAll, describe, expect, inject, it } from 'vitest';

const PACKAGES_MAX = 15;
/** Bytes of script that the window reads before it shows anything. */
const START_MAX = 200_000;
let files;

beforeAll(() => {
  const folder = join(inject('built'), 'dist');
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  files = new Map(paths.map((path) => [path, readFileSync(path, 'utf8')]));
});

const shipped = () => [...files].filter(([path]) => !path.endsWith('.map'));

describe('the build', () => {
  it('sec_058 has code of few packages', () => {
    const packages = new Set();
    for (const [path, text] of files) {
      if (!path.endsWith('.map')) continue;
      for (const source of JSON.parse(text).sources) {
        const name = source.split('node_modules/').at(-1);
        if (name !== source) packages.add(name.split('/', name.startsWith('@') ? 2 : 1).join('/'));
      }
    }
    expect(packages).toContain('svelte');
    expect(packages.size, [...packages].join(', ')).toBeLessThanOrEqual(PACKAGES_MAX);
  });

  it('sec_059 names no development server, no source map and nothing of the twin', () => {
    expect(shipped().length).toBeGreaterThan(2);
    for (const [path, text] of shipped()) {
      for (const word of [
        'localhost:1420',
        ':1420',
        'http://localhost',
        'ws://',
        '127.0.0.1',
        '@vite/client',
        'sourceMappingURL',
        'createFake',
        'hostile',
        'Lovelace',
      ]) {
        expect(text.includes(word), `${word} in ${path}`).toBe(false);
      }
    }
  });

  it('starts with little: what is shown later is read later', () => {
    const page = shipped().find(([path]) => path.endsWith('index.html'))[1];
    // The build names what the first script imports, too, so that nothing waits for it.
    const named = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g)].map(([, name]) => name);
    const start = shipped().filter(([path]) => named.some((name) => path.endsWith(name)));
    expect(start.length).toBe(named.length);
    const imported = start.flatMap(([, text]) => [...text.matchAll(/\bfrom\s*["']\.\/([^"']+)["']/g)]);
    for (const [, name] of imported) expect(named).toContain(`assets/${name}`);
    const bytes = start.reduce((sum, [, text]) => sum + Buffer.byteLength(text), 0);
    expect(bytes).toBeGreaterThan(50_000);
    expect(bytes, `${named.join(', ')}`).toBeLessThanOrEqual(START_MAX);
    for (const later of ['settings-view', 'signin-submit', 'emoji-picker', 'search-hit']) {
      const holders = shipped().filter(([path, text]) => path.endsWith('.js') && text.includes(later));
      expect(holders.length, later).toBeGreaterThan(0);
      for (const holder of holders) expect(start, later).not.toContain(holder);
    }
  });

  it('sec_050 needs nothing that the policy forbids', () => {
    const page = shipped().find(([path]) => path.endsWith('index.html'))[1];
    expect(page).not.toMatch(/<style|style=|<script(?![^>]*\bsrc=)|\son\w+=|javascript:|data:/i);
    for (const [path, text] of shipped()) {
      if (path.endsWith('.css')) expect(text, path).not.toMatch(/url\((?!["']?\.?\/)|@import|expression\(/i);
      if (path.endsWith('.js')) expect(text, path).not.toMatch(/\beval\(|new Function\(/);
    }
  });

  it('sec_059 comes from a server that only this computer reaches, while it is developed', async () => {
    const server = await createServer({ server: { port: 0, strictPort: false }, logLevel: 'silent' });
    await server.listen();
    const { address } = server.httpServer.address();
    await server.close();
    expect(['127.0.0.1', '::1']).toContain(address);
    const config = JSON.parse(readFileSync('../src-tauri/tauri.conf.json', 'utf8'));
    expect(new URL(config.build.devUrl).hostname).toBe('localhost');
    expect(readFileSync('package.json', 'utf8')).not.toMatch(/--host/);
  });
});
