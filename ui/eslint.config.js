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
      'no-restricted-properties': [
        'error',
        { property: 'innerHTML', message: 'Text is never HTML.' },
        { property: 'outerHTML', message: 'Text is never HTML.' },
        { property: 'insertAdjacentHTML', message: 'Text is never HTML.' },
      ],
      'no-eval': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  { files: ['src/lib/ipc/*.ts'], rules: { 'no-restricted-imports': 'off' } },
);
