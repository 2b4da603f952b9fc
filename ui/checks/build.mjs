// Builds the interface as it is shipped, and the twin that stands in for the shell, into a folder of their own.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export default function setup(project) {
  const folder = mkdtempSync(join(tmpdir(), 'kith-ui-'));
  const vite = (...args) =>
    execFileSync(
      process.execPath,
      ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn', ...args],
      {
        // The tests' own mode must not become the build's.
        env: { ...process.env, NODE_ENV: 'production', VITEST: '' },
        stdio: 'inherit',
      },
    );
  // The maps lie beside the build and are not named in it: they say which packages are in it.
  vite('--emptyOutDir', '--outDir', join(folder, 'dist'), '--sourcemap', 'hidden');
  vite('--config', 'checks/twin.config.ts', '--emptyOutDir', '--outDir', join(folder, 'twin'));
  project.provide('built', folder);
  return () => rmSync(folder, { recursive: true, force: true });
}
