import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import type { Fake } from './lib/ipc/fake';
import { open, start, write } from './test-kit';

/** Everything that a link may never do by itself. */
function guard(shell: Fake) {
  const names = [
    'sendMessage',
    'startDirect',
    'startDirectAbout',
    'openDirect',
    'createGroup',
    'leave',
    'deleteMessage',
  ] as const;
  const spies = names.map((name) => vi.spyOn(shell, name));
  return () => spies.forEach((spy) => expect(spy).not.toHaveBeenCalled());
}

describe('a link that the app was started with', () => {
  it('opens a conversation at its message', async () => {
    await start({ startLink: { kind: 'conversation', id: 'c1', message: 'm5' } });
    await waitFor(() => expect(document.querySelector('[data-id=m5].marked')).not.toBeNull());
    expect(screen.getByTestId('header-title').textContent).toBe('Bo Nilsson');
  });

  it('sec_056 shows the person to start with, and writes nothing', async () => {
    const shell = await start({
      startLink: { kind: 'start', with: 'dana', context: { kind: 'job', id: '7' } },
    });
    const untouched = guard(shell);
    await screen.findByTestId('first-message');
    expect(screen.getByRole('dialog').textContent).toContain('New chat with Dana');
    untouched();
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
    const untouched = guard(shell);
    const area = await open('c1');
    await write(area, 'unfinished');
    shell.follow({ kind: 'conversation', id: 'c2', message: null });
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toContain('Cleo'));
    untouched();
    expect((await open('c1')).value).toBe('unfinished');
  });

  it('sec_056 puts an unknown name into the search and starts nothing', async () => {
    const shell = await start();
    const untouched = guard(shell);
    shell.follow({ kind: 'start', with: 'nobody.here', context: null });
    const query = (await screen.findByTestId('new-chat-query')) as HTMLInputElement;
    await waitFor(() => expect(query.value).toBe('nobody.here'));
    await screen.findByText(/Nobody is found/);
    untouched();
  });
});
