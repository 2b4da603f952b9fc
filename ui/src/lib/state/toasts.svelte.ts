/** Short notes at the edge of the window: gone after five seconds, or by hand; a warning about the account only by hand. */
export interface Toast {
  id: number;
  kind: 'info' | 'error';
  text: string;
  /** Until the user closes it. */
  stays: boolean;
}

const SHOWN_FOR_MS = 5_000;
/** Notes that leave by themselves, at once; the oldest makes room. */
const PASSING_MAX = 4;
/** Notes that wait for the user, at once; the oldest makes room. The list of devices has them all. */
const STAYING_MAX = 3;

export class Toasts {
  list = $state.raw<Toast[]>([]);
  #next = 1;

  show(text: string, kind: Toast['kind'] = 'info'): void {
    const id = this.#add({ kind, text, stays: false });
    setTimeout(() => this.dismiss(id), SHOWN_FOR_MS);
  }

  /** Shows what must not be missed: who was away from the window still finds it. */
  warn(text: string): void {
    this.#add({ kind: 'error', text, stays: true });
  }

  #add(toast: Omit<Toast, 'id'>): number {
    const id = this.#next++;
    const all = [...this.list, { id, ...toast }];
    const kept = [
      ...all.filter((each) => each.stays).slice(-STAYING_MAX),
      ...all.filter((each) => !each.stays).slice(-PASSING_MAX),
    ];
    this.list = all.filter((each) => kept.includes(each));
    return id;
  }

  dismiss(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}
