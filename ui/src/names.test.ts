import { fireEvent, screen, waitFor, within } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { addNamesakes, BO_TOO } from './lib/ipc/fake/namesakes';
import { BO, DANA } from './lib/ipc/fake/people';
import { PAGE } from './lib/state/timeline.svelte';
import { menuOf, message, open, row, settled, start, texts, write } from './test-kit';

const words = (element: Element | null | undefined) => element?.textContent?.replace(/\s+/g, ' ').trim();
const HANDLE = `@${BO_TOO.username}`;

async function reply(text: string): Promise<void> {
  const action = (await menuOf(await message(text))).reply;
  await fireEvent.click(action as HTMLElement);
}

describe('people who share a name', () => {
  it('are told apart in the list, in messages and in notices', async () => {
    await start({ fill: addNamesakes });
    await open('c8');
    await waitFor(() =>
      expect(screen.getByText(/added/).textContent).toBe(
        `Bo Nilsson (@bo.nilsson) added Bo Nilsson (@${BO_TOO.username})`,
      ),
    );
    expect(screen.getAllByTestId('message-handle').map(words)).toContain(HANDLE);
    expect(words((await row('c8')).querySelector('[data-testid=conversation-preview]'))).toBe(
      `${HANDLE}: So am I.`,
    );
  });

  it('are told apart while they type', async () => {
    const shell = await start({ fill: addNamesakes });
    await open('c8');
    shell.type('c8', BO_TOO);
    expect(words(await screen.findByTestId('typing'))).toBe(`${HANDLE} is typing…`);
    shell.type('c8', BO_TOO, DANA);
    await waitFor(() => expect(words(screen.getByTestId('typing'))).toBe(`${HANDLE} and Dana are typing…`));
  });

  it('are told apart behind a reaction', async () => {
    await start({
      fill: (world) => {
        addNamesakes(world);
        world.push('c8', BO_TOO, 'Liked by some.');
        const reactions = [{ emoji: '👍', count: 3, people: [BO, BO_TOO, DANA], mine: false }];
        Object.assign(world.row('c8').items.at(-1) ?? {}, { reactions });
      },
    });
    await open('c8');
    await message('Liked by some.');
    const liked = screen.getByTestId('reaction');
    expect(liked.title).toBe(`@${BO.username}, ${HANDLE}, ${DANA.display_name}`);
    expect(liked.ariaLabel).toBe(`👍 3 by ${liked.title}`);
  });

  it('are told apart above a reply', async () => {
    await start({ fill: addNamesakes });
    await open('c8');
    await reply('So am I.');
    expect(words(await screen.findByTestId('reply-to'))).toBe(`Reply to ${BO_TOO.display_name} ${HANDLE}`);
  });

  it('are told apart above a reply whose message is no longer in view', async () => {
    // Only the message that is replied to brings the second Bo into view.
    const shell = await start({ fill: (world) => void world.push('c5', BO_TOO, 'Whom do I answer?') });
    await open('c5');
    await reply('Whom do I answer?');
    expect(words(await screen.findByTestId('reply-to'))).toContain(HANDLE);
    // So many that the page of the newest ones ends after it.
    await open('c1');
    for (let each = 0; each < 2 * PAGE; each += 1) shell.receive('c5', `${each}`);
    await settled();
    await fireEvent.click(await row('c1'));
    shell.alter('c5', { unread: 0 });
    await open('c5');
    await fireEvent.click(screen.getByTestId('jump-to-bottom'));
    await waitFor(() => expect(texts()).not.toContain('Whom do I answer?'));
    expect(words(screen.getByTestId('reply-to'))).toContain(HANDLE);
  });

  it('are told apart where something is found or was not sent', async () => {
    const shell = await start({ fill: addNamesakes });
    vi.spyOn(shell, 'findPeople').mockResolvedValue([BO, BO_TOO]);
    shell.refuse('c6', 'not sent', 'not_allowed');
    // A result of the search in a conversation with one of them.
    await fireEvent.input(await screen.findByTestId('search-input'), { target: { value: 'not met before' } });
    await waitFor(() =>
      expect(words(screen.getByTestId('search-hit').querySelector('.top'))).toContain(HANDLE),
    );
    // What waits for the user.
    await write(screen.getByTestId('search-input'), '');
    const unsent = await screen.findByTestId('unsent-button');
    await fireEvent.click(unsent);
    expect(words(await screen.findByTestId('unsent-item'))).toContain(HANDLE);
  });

  it('are told apart among those who were chosen for a group', async () => {
    const shell = await start();
    vi.spyOn(shell, 'findPeople').mockResolvedValue([BO, BO_TOO]);
    await fireEvent.click(await screen.findByTestId('new-group-button'));
    const dialog = within(await screen.findByRole('dialog'));
    for (const person of await dialog.findAllByTestId('person-row')) await fireEvent.click(person);
    await settled();
    const chips = dialog.getAllByRole('button', { name: /^Remove / });
    expect(chips.map((chip) => chip.ariaLabel)).toEqual([
      `Remove ${BO.display_name} @${BO.username}`,
      `Remove ${BO_TOO.display_name} ${HANDLE}`,
    ]);
    expect(chips.map(words)).toEqual([
      `${BO.display_name} @${BO.username}`,
      `${BO_TOO.display_name} ${HANDLE}`,
    ]);
  });

  it('are told apart where one is blocked', async () => {
    await start({ fill: addNamesakes });
    await open('c6');
    await fireEvent.click(screen.getByTestId('details-button'));
    const block = await screen.findByTestId('block-person');
    expect(words(block)).toBe(`Block ${HANDLE}…`);
  });
});

describe('what a conversation is about', () => {
  it('is said in full in its details', async () => {
    const shell = await start();
    const title = 'A title that is longer than its place in the header';
    shell.alter('c1', { context: { kind: 'job', id: '7', title } });
    await open('c1');
    await waitFor(() => expect(screen.getByTestId('header-context').title).toBe(title));
    await fireEvent.click(screen.getByTestId('details-button'));
    expect((await screen.findByTestId('details-about')).textContent).toBe(`About ${title}`);
  });
});

describe('a new device', () => {
  it('is announced until the user has seen it, and its name turns no text around', async () => {
    const shell = await start();
    shell.tell({ type: 'problem', problem: { kind: 'new_device', name: 'tablet\u202e', is_copy: false } });
    const toast = await screen.findByTestId('toast');
    expect(toast.textContent).toContain('A new device signed in: tablet. Not you?');
  });
});
