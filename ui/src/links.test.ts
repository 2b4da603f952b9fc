import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, type Mock, vi } from 'vitest';
import type { Fake } from './lib/ipc/fake';
import { open, start, write } from './test-kit';

/** What the window reads, listens to, or shows it is looking at. Whatever is not here, no link does by itself. */
const READS = new Set([
  'appState',
  'status',
  'conversations',
  'conversation',
  'timeline',
  'presence',
  'watchPresence',
  'setPresence',
  'setFocus',
  'outbox',
  'findPeople',
  'findDirect',
  'person',
  'getSettings',
  'showsPresence',
  'takeStartLink',
  'suggestedServer',
  'painted',
  'update',
  'appVersion',
  'onEngine',
  'onLink',
  'onQuitAsked',
  'onScreenLocked',
  'onUpdate',
  // The test's own.
  'follow',
]);

/** Watches every command of the shell; the answer names those that were called and do more than read. */
function watch(shell: Fake): () => string[] {
  const names = (Object.keys(shell) as (keyof Fake)[]).filter((name) => typeof shell[name] === 'function');
  const spies = names.map((name) => [name, vi.spyOn(shell, name as never) as Mock] as const);
  return () => {
    const called = spies.filter(([, spy]) => spy.mock.calls.length > 0).map(([name]) => String(name));
    expect(called.length).toBeGreaterThan(0);
    return called.filter((name) => !READS.has(name));
  };
}

describe('a link that the app was started with', () => {
  it('opens a conversation at its message', async () => {
    await start({ startLink: { kind: 'conversation', id: 'c1', message: 'm5' } });
    await waitFor(() => expect(document.querySelector('[data-id=m5].marked')).not.toBeNull());
    expect(screen.getByTestId('header-title').textContent).toBe('Bo Nilsson');
  });

  it('sec_056 shows the person to start with, and writes nothing', async () => {
    let done = () => ['nothing was watched'];
    const startLink = { kind: 'start', with: 'dana', context: { kind: 'job', id: '7' } } as const;
    await start({ startLink }, (shell) => (done = watch(shell)));
    await screen.findByTestId('first-message');
    expect(screen.getByRole('dialog').textContent).toContain('New chat with Dana');
    expect(done()).toEqual([]);
  });

  it('begins a chat about what it names, and the header says so', async () => {
    const shell = await start({
      startLink: { kind: 'start', with: 'dana', context: { kind: 'job', id: '7' } },
    });
    const first = await screen.findByTestId('first-message');
    expect(screen.getByTestId('new-chat-about').textContent).toBe('About job 7');
    await write(first, 'Hello Dana');
    const begin = vi.spyOn(shell, 'startDirectAbout');
    await fireEvent.click(screen.getByTestId('first-message-send'));
    await waitFor(() => expect(screen.getByTestId('header-context').textContent?.trim()).toBe('job 7'));
    expect(begin).toHaveBeenCalledWith('p5', { kind: 'job', id: '7' }, 'Hello Dana');
  });

  it('says when the conversation is not here', async () => {
    await start({ startLink: { kind: 'conversation', id: 'c99', message: null } });
    expect((await screen.findByTestId('toast')).textContent).toContain('not here');
  });

  it('waits for the sign-in', async () => {
    await start({ signedIn: false, startLink: { kind: 'conversation', id: 'c2', message: null } });
    await write(await screen.findByTestId('signin-server'), 'chat.example.org');
    await write(screen.getByTestId('signin-username'), 'ada');
    await write(screen.getByTestId('signin-password'), 'correct horse');
    await fireEvent.click(screen.getByTestId('signin-submit'));
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toContain('Cleo'));
  });
});

describe('a link that comes while the app runs', () => {
  it('opens the existing conversation with a person at once', async () => {
    const shell = await start();
    shell.follow({ kind: 'start', with: 'bo.nilsson', context: null });
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe('Bo Nilsson'));
    expect(screen.queryByRole('dialog')).toBeNull();
  });

  it('takes the place of a dialog about somebody else', async () => {
    const shell = await start();
    shell.follow({ kind: 'start', with: 'dana', context: null });
    await screen.findByTestId('first-message');
    shell.follow({ kind: 'start', with: '山田', context: null });
    await waitFor(() => expect(screen.getByRole('dialog').textContent).not.toContain('Dana'));
  });

  it('sec_056 leaves a draft as it is', async () => {
    const shell = await start();
    const area = await open('c1');
    await write(area, 'unfinished');
    const done = watch(shell);
    shell.follow({ kind: 'conversation', id: 'c2', message: null });
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toContain('Cleo'));
    // What was written is kept; opening a conversation reads it.
    expect(
      done().filter((name) => !['keepDraft', 'setDraft', 'setTyping', 'markRead'].includes(name)),
    ).toEqual([]);
    expect((await open('c1')).value).toBe('unfinished');
  });

  it('sec_056 puts an unknown name into the search and starts nothing', async () => {
    const shell = await start();
    const done = watch(shell);
    shell.follow({ kind: 'start', with: 'nobody.here', context: null });
    const query = (await screen.findByTestId('new-chat-query')) as HTMLInputElement;
    await waitFor(() => expect(query.value).toBe('nobody.here'));
    await screen.findByText(/No one found/);
    expect(done()).toEqual([]);
  });
});
