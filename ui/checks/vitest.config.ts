import { defineConfig } from 'vitest/config';

/** What jsdom cannot show: the built interface in a browser, what is in the build, and that the lint bites. */
export default defineConfig({
  test: {
    include: ['checks/**/*.test.mjs'],
    environment: 'node',
    globalSetup: ['checks/build.mjs'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // One browser is enough for a busy machine.
    fileParallelism: false,
  },
});
