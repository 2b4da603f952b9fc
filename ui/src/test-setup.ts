import { cleanup, configure } from '@testing-library/svelte';
import { afterEach, vi } from 'vitest';

// A busy machine is slow, not wrong.
configure({ asyncUtilTimeout: 5_000 });

afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});

// jsdom has none of these; components need little more than that they exist.
Element.prototype.scrollIntoView ??= () => {};
globalThis.ResizeObserver ??= class {
  #told: () => void;
  constructor(callback: ResizeObserverCallback) {
    this.#told = () => callback([], this);
  }
  /** As in a window, the size at the beginning is told too. */
  observe() {
    queueMicrotask(this.#told);
  }
  unobserve() {}
  disconnect() {}
};
HTMLDialogElement.prototype.showModal ??= function (this: HTMLDialogElement) {
  this.open = true;
};
HTMLDialogElement.prototype.close ??= function (this: HTMLDialogElement) {
  this.open = false;
};
