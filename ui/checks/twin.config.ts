import { defineConfig } from 'vite';

/** The twin as one script that a browser runs before the page. */
export default defineConfig({
  build: { lib: { entry: 'checks/twin.ts', formats: ['iife'], name: 'kithTwin', fileName: () => 'twin.js' } },
});
