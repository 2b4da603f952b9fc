import js from '@eslint/js';
import globals from 'globals';
import svelte from 'eslint-plugin-svelte';
import ts from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

const onlyEngine = {
  patterns: [
    { group: ['@tauri-apps/*'], message: 'Only lib/ipc/engine.ts talks to the shell.' },
    { group: ['**/ipc/bindings'], message: 'Import types from lib/ipc/engine.' },
  ],
};

const message = 'Text is never HTML.';
/** Every way to make elements of a text. */
const noHtml = [
  'innerHTML',
  'outerHTML',
  'insertAdjacentHTML',
  'setHTML',
  'setHTMLUnsafe',
  'parseHTMLUnsafe',
  'createContextualFragment',
  'srcdoc',
].map((property) => ({ property, message }));
const noWriting = ['write', 'writeln'].map((property) => ({ object: 'document', property, message }));

export default ts.config(
  { ignores: ['dist', 'node_modules', 'src/lib/ipc/bindings.ts', 'shots/out'] },
  js.configs.recommended,
  ...ts.configs.recommended,
  ...svelte.configs.recommended,
  { languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: ts.parser, extraFileExtensions: ['.svelte'], svelteConfig } },
  },
  {
    rules: {
      'svelte/no-at-html-tags': 'error',
      'svelte/require-each-key': 'error',
      'no-restricted-imports': ['error', onlyEngine],
      'no-restricted-properties': ['error', ...noHtml, ...noWriting],
      'no-restricted-globals': ['error', { name: 'DOMParser', message: 'Text is never HTML.' }],
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-script-url': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  { files: ['src/lib/ipc/*.ts'], rules: { 'no-restricted-imports': 'off' } },
  // What must be refused has to be written down, and tried.
  {
    files: ['src/**/*.test.ts', 'checks/*.mjs'],
    rules: { 'no-script-url': 'off', 'no-new-func': 'off' },
  },
);
