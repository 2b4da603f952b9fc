/** Short notes at the edge of the window: gone after five seconds, or by hand. */
export interface Toast {
  id: number;
  kind: 'info' | 'error';
  text: string;
}

const SHOWN_FOR_MS = 5_000;

export class Toasts {
  list = $state.raw<Toast[]>([]);
  #next = 1;

  show(text: string, kind: Toast['kind'] = 'info'): void {
    const id = this.#next++;
    this.list = [...this.list.slice(-3), { id, kind, text }];
    setTimeout(() => this.dismiss(id), SHOWN_FOR_MS);
  }

  dismiss(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}
