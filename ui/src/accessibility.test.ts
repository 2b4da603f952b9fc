import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import axe from 'axe-core';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { menuOf, open, settled, start } from './test-kit';

/** jsdom draws nothing: colours and sizes are looked at with the screenshots. */
const rules = { 'color-contrast': { enabled: false }, 'target-size': { enabled: false } };

const click = async (id: string) => fireEvent.click(await screen.findByTestId(id));
const press = (key: string, ctrlKey = false) => fireEvent.keyDown(window, { key, ctrlKey });

const SCREENS: [string, () => Promise<unknown>][] = [
  ['sign-in', () => start({ signedIn: false })],
  [
    'sign-up with an error',
    async () => {
      await start({ signedIn: false });
      await click('signin-switch');
      await click('signin-submit');
    },
  ],
  ['failure', () => start({ failing: { appState: 'newer_file' } })],
  [
    'passphrase, wrong',
    async () => {
      await start({ locked: true });
      await fireEvent.input(await screen.findByTestId('unlock-passphrase'), { target: { value: 'wrong' } });
      await click('unlock-submit');
      await screen.findByTestId('unlock-error');
    },
  ],
  ['passphrase forgotten', async () => [await start({ locked: true }), await click('unlock-forgot')]],
  [
    'how to keep the sign-in',
    async () => {
      await start({
        offer: { reason: 'key_missing', has_history: true, unsent: 3, secret_store_usable: true },
      });
      await click('offer-passphrase');
      await click('passphrase-submit');
      await screen.findByTestId('passphrase-error');
    },
  ],
  ['empty list', () => start({ empty: true })],
  ['full list', () => start()],
  ['timeline', async () => [await start(), await open('c1')]],
  ['group', async () => [await start(), await open('c5')]],
  [
    'timeline with unsent messages, a draft of another device and typing',
    async () => {
      const shell = await start();
      await open('c5');
      shell.online(false);
      shell.refuse('c5', 'refused', 'not_allowed');
      shell.clash('c5', 'theirs');
      const { members } = await shell.conversation('c5');
      shell.type('c5', ...members.slice(1).map(({ person }) => person));
      await screen.findByTestId('draft-conflict');
    },
  ],
  ["a message's menu", async () => [await start(), await open('c2'), await menuOf(lastMessage())]],
  [
    'question before deleting',
    async () => {
      await start();
      await open('c2');
      await fireEvent.click((await menuOf(lastMessage())).delete as HTMLElement);
      await screen.findByTestId('delete-confirm');
    },
  ],
  [
    "a conversation's menu",
    async () => {
      await start();
      await fireEvent.contextMenu((await screen.findAllByTestId('conversation-row'))[0] as HTMLElement);
    },
  ],
  [
    'question before a doubtful link',
    async () => {
      const shell = await start();
      await open('c2');
      shell.receive('c2', '[bank](https://evil.example/)');
      await fireEvent.click(await screen.findByTitle('Opens evil.example'));
      await screen.findByTestId('doubtful-host');
    },
  ],
  [
    'emoji',
    async () => {
      await start();
      await open('c1');
      await fireEvent.click(screen.getByRole('button', { name: 'Insert an emoji' }));
    },
  ],
  [
    'search',
    async () => {
      await start();
      await fireEvent.input(await screen.findByTestId('search-input'), { target: { value: 'bo' } });
      await waitFor(() => expect(document.querySelector('.coverage')).not.toBeNull());
    },
  ],
  [
    'settings',
    async () => [await start(), await click('settings-button'), await screen.findByText('Old computer')],
  ],
  [
    'signing out',
    async () => [await start(), await click('settings-button'), await click('sign-out-button')],
  ],
  [
    'details',
    async () => [await start(), await open('c5'), await click('details-button'), await click('add-people')],
  ],
  [
    'new chat',
    async () => [await start(), await click('new-chat-button'), await screen.findAllByTestId('person-row')],
  ],
  [
    'new group',
    async () => [await start(), await click('new-group-button'), await screen.findAllByTestId('person-row')],
  ],
  [
    'switcher',
    async () => [await start(), await screen.findAllByTestId('conversation-row'), await press('k', true)],
  ],
  [
    'shortcuts',
    async () => [await start(), await screen.findAllByTestId('conversation-row'), await press('?')],
  ],
  [
    'unsent',
    async () => {
      const shell = await start();
      await open('c1');
      shell.refuse('c1', 'refused', 'not_allowed');
      await fireEvent.click((await screen.findAllByTestId('unsent-button'))[0] as HTMLElement);
      await screen.findByTestId('unsent-item');
    },
  ],
];

const lastMessage = () => screen.getAllByTestId('message').at(-1) as HTMLElement;

beforeEach(() => {
  document.documentElement.lang = 'en'; // as index.html says
  vi.spyOn(HTMLCanvasElement.prototype, 'getContext').mockReturnValue(null);
});

describe('every screen is usable without seeing it', () => {
  it.each(SCREENS)('%s', async (_name, show) => {
    await show();
    await settled();
    const { violations } = await axe.run(document.documentElement, { rules });
    const found = violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}`));
    expect(found).toEqual([]);
  });
});
