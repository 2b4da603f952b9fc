import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import { start, write } from '../test-kit';

async function withDana(): Promise<HTMLTextAreaElement> {
  await fireEvent.click(await screen.findByTestId('new-chat-button'));
  return choose('dana');
}

async function choose(username: string): Promise<HTMLTextAreaElement> {
  const person = await waitFor(() => {
    const found = document.querySelector(`dialog [data-username="${username}"]`);
    expect(found).not.toBeNull();
    return found as HTMLElement;
  });
  await fireEvent.click(person);
  return (await screen.findByTestId('first-message')) as HTMLTextAreaElement;
}

async function escape() {
  await fireEvent(screen.getByRole('dialog'), new Event('cancel', { cancelable: true }));
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
}

describe('a first message', () => {
  it('that was not sent is there again when the person is chosen again', async () => {
    await start();
    await write(await withDana(), 'Hello Dana');
    await escape();
    expect((await withDana()).value).toBe('Hello Dana');
    await fireEvent.click(screen.getByRole('button', { name: 'Back' }));
    expect((await choose('dana')).value).toBe('Hello Dana');
  });

  it('is forgotten when the user signs out', async () => {
    const shell = await start();
    await write(await withDana(), 'Hello Dana');
    await escape();
    await shell.signOut(false);
    await screen.findByTestId('signin-submit');
    await shell.signIn('https://chat.example.org', 'ada', 'correct horse');
    expect((await withDana()).value).toBe('');
  });
});

describe('a search for people', () => {
  const OFFLINE = 'Without a connection, Kith finds only people you already know.';

  it.each([true, false])('that finds no one says of the connection what is so (%s)', async (isOnline) => {
    const shell = await start();
    shell.online(isOnline);
    await fireEvent.click(await screen.findByTestId('new-chat-button'));
    await write(await screen.findByTestId('new-chat-query'), 'nobody of this name');
    const note = await screen.findByText(/No one found\./);
    await waitFor(() => expect(note.textContent.includes(OFFLINE)).toBe(!isOnline));
  });
});
