/** The in-memory twin behind the interface that the app's own window has: the built interface cannot tell the difference. */
import { HOSTILE, haunt, hauntAnswers } from '../src/hostile';
import { createFake } from '../src/lib/ipc/fake';

type Called = (...args: unknown[]) => Promise<unknown>;

const twin = hauntAnswers(createFake({ history: 3, fill: haunt }));
const opened: string[] = [];
twin.openLink = async (url) => void opened.push(url);

const callbacks: ((event: unknown) => void)[] = [];
const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

function listen(event: string, handler: number): void {
  const tell = (payload: unknown) => callbacks[handler]?.({ event, id: handler, payload });
  if (event === 'engine') void twin.onEngine(tell);
  if (event === 'link') void twin.onLink(tell);
}

async function invoke(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
  if (command === 'plugin:event|listen') {
    listen(args.event as string, args.handler as number);
    return args.handler;
  }
  if (command.startsWith('plugin:event|')) return undefined;
  const called = (twin as unknown as Record<string, Called>)[camel(command)];
  if (!called) throw new Error(`no command ${command}`);
  return called(...Object.values(args));
}

Object.assign(window, {
  twin,
  opened,
  hostile: HOSTILE,
  __TAURI_INTERNALS__: {
    invoke,
    transformCallback: (callback: (event: unknown) => void) => callbacks.push(callback) - 1,
    unregisterCallback: () => undefined,
  },
  __TAURI_EVENT_PLUGIN_INTERNALS__: { unregisterListener: () => undefined },
});
// As the window has it.
Object.freeze(Object.prototype);
