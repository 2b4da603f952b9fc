/** The only interface to the shell: commands out, events in. Nothing else imports the bindings or Tauri. */
import { invoke } from '@tauri-apps/api/core';
import { listen } from '@tauri-apps/api/event';
import {
  createCommands,
  type Commands,
  type EngineEvent,
  type Link,
  type QuitAsked,
  type UpdateView,
} from './bindings';

export type * from './bindings';

/** What the interface needs of the app around it. */
export interface Shell extends Commands {
  /** Change notices, gathered; answers a function that ends it. */
  onEngine(listener: (events: EngineEvent[]) => void): Promise<() => void>;
  /** A `kith://` link or a clicked notification. */
  onLink(listener: (link: Link) => void): Promise<() => void>;
  /** Quitting would lose something. */
  onQuitAsked(listener: (asked: QuitAsked) => void): Promise<() => void>;
  /** The screen was locked or unlocked. */
  onScreenLocked(listener: (isLocked: boolean) => void): Promise<() => void>;
  /** What is known of newer versions has changed. */
  onUpdate(listener: (update: UpdateView) => void): Promise<() => void>;
}

/** Connects to the shell that this window runs in. */
export function connect(): Shell {
  return {
    ...createCommands((command, args) => invoke(command, args)),
    onEngine: (listener) => listen<EngineEvent[]>('engine', (event) => listener(event.payload)),
    onLink: (listener) => listen<Link>('link', (event) => listener(event.payload)),
    onQuitAsked: (listener) => listen<QuitAsked>('quit_asked', (event) => listener(event.payload)),
    onScreenLocked: (listener) => listen<boolean>('screen_locked', (event) => listener(event.payload)),
    onUpdate: (listener) => listen<UpdateView>('update', (event) => listener(event.payload)),
  };
}
