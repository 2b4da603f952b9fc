// The lint refuses every way to make HTML of a text, and nobody has switched it off.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';

const eslint = new ESLint();

async function rulesBroken(filePath, text) {
  const [{ messages }] = await eslint.lintText(text, { filePath });
  return messages.filter(({ severity }) => severity === 2).map(({ ruleId }) => ruleId);
}

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return /\.(svelte|ts|js)$/.test(entry.name) ? [path] : [];
  });
}

describe('the lint', () => {
  it.each([
    [
      'src/A.svelte',
      '<script lang="ts">let { text } = $props();</script>{@html text}',
      'svelte/no-at-html-tags',
    ],
    [
      'src/a.ts',
      'export const a = (e: Element, t: string) => (e.innerHTML = t);',
      'no-restricted-properties',
    ],
    [
      'src/a.ts',
      'export const a = (e: Element, t: string) => (e.outerHTML = t);',
      'no-restricted-properties',
    ],
    [
      'src/a.ts',
      "export const a = (e: Element, t: string) => e.insertAdjacentHTML('afterend', t);",
      'no-restricted-properties',
    ],
    [
      'src/a.ts',
      'export const a = (r: Range, t: string) => r.createContextualFragment(t);',
      'no-restricted-properties',
    ],
    [
      'src/a.ts',
      'export const a = (f: HTMLIFrameElement, t: string) => (f.srcdoc = t);',
      'no-restricted-properties',
    ],
    ['src/a.ts', 'export const a = (t: string) => document.write(t);', 'no-restricted-properties'],
    [
      'src/a.ts',
      "export const a = (t: string) => new DOMParser().parseFromString(t, 'text/html');",
      'no-restricted-globals',
    ],
    ['src/a.ts', 'export const a = (t: string) => eval(t);', 'no-eval'],
    ['src/a.ts', 'export const a = (t: string) => new Function(t);', 'no-new-func'],
    ['src/a.ts', "export const a = () => setTimeout('x()', 1);", 'no-implied-eval'],
    ['src/a.ts', "export const a = 'javascript:x()';", 'no-script-url'],
    ['src/a.ts', "import { invoke } from '@tauri-apps/api/core';\ninvoke('x');", 'no-restricted-imports'],
  ])('sec_062 bites in %s: %s', async (path, text, rule) => {
    expect(await rulesBroken(path, text)).toContain(rule);
  });

  it('sec_062 is nowhere switched off, and no source has what it forbids', () => {
    const all = sources('src').filter((path) => !/hostile|\.test\.ts$/.test(path));
    expect(all.length).toBeGreaterThan(60);
    for (const path of all) {
      const text = readFileSync(path, 'utf8');
      const off = /eslint-disable(?!-next-line svelte\/prefer-svelte-reactivity)/;
      expect(off.test(text), `${path} switches a rule off`).toBe(false);
      for (const word of [
        '{@html',
        'innerHTML',
        'srcdoc',
        'contenteditable',
        'insertAdjacentHTML',
        '<iframe',
        '<img',
      ]) {
        expect(text.includes(word), `${word} in ${path}`).toBe(false);
      }
    }
  });
});
