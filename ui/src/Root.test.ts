import { fireEvent, render, screen, waitFor, within } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import Root from './Root.svelte';
import { App } from './lib/state/app.svelte';
import { createFake } from './lib/ipc/fake';
import { ME } from './lib/ipc/fake/people';
import { open, start, texts, write } from './test-kit';

describe('signing in', () => {
  it('says what to do about an address, a name or a password that cannot be right', async () => {
    const shell = await start({ signedIn: false });
    const signIn = vi.spyOn(shell, 'signIn');
    await fireEvent.click(await screen.findByTestId('signin-submit'));
    expect(screen.getByTestId('signin-error').textContent).toContain('address of the server');
    await fireEvent.input(screen.getByTestId('signin-server'), { target: { value: 'chat.example.org' } });
    await fireEvent.input(screen.getByTestId('signin-username'), { target: { value: 'Ada!' } });
    await fireEvent.click(screen.getByTestId('signin-submit'));
    expect(screen.getByTestId('signin-error').textContent).toContain('3 to 32');
    expect(signIn).not.toHaveBeenCalled();
  });

  it('advises on a new password only who creates an account', async () => {
    await start({ signedIn: false });
    await fireEvent.input(await screen.findByTestId('signin-server'), { target: { value: 'x.example' } });
    await fireEvent.input(screen.getByTestId('signin-username'), { target: { value: 'ada' } });
    await fireEvent.click(screen.getByTestId('signin-submit'));
    expect(screen.getByTestId('signin-error').textContent).toBe('A password has at least 8 characters.');
    await fireEvent.click(screen.getByTestId('signin-switch'));
    await fireEvent.input(screen.getByTestId('signin-display-name'), { target: { value: 'Ada' } });
    await fireEvent.click(screen.getByTestId('signin-submit'));
    expect(screen.getByTestId('signin-error').textContent).toContain('15 or more are better');
  });

  it('shows the refusal in words and stays', async () => {
    await start({ signedIn: false, failing: { signIn: 'credentials_invalid' } });
    await fireEvent.input(await screen.findByTestId('signin-server'), { target: { value: 'x.example' } });
    await fireEvent.input(screen.getByTestId('signin-username'), { target: { value: 'ada' } });
    await fireEvent.input(screen.getByTestId('signin-password'), { target: { value: 'correct horse' } });
    await fireEvent.click(screen.getByTestId('signin-submit'));
    await waitFor(() =>
      expect(screen.getByTestId('signin-error').textContent).toContain('Wrong username or password'),
    );
  });
});

describe('conversations', () => {
  it('shows texts as text, whatever they contain', async () => {
    const shell = await start();
    await open('c1');
    shell.receive('c1', '<img src=x onerror="alert(1)"><b>bold</b>');
    await waitFor(() => expect(texts()).toContain('<img src=x onerror="alert(1)"><b>bold</b>'));
    expect(document.querySelector('[data-testid=message-text] img')).toBeNull();
  });

  it('counts unread messages in the list and in the title', async () => {
    const shell = await start();
    await screen.findAllByTestId('conversation-row');
    shell.receive('c2', 'one');
    shell.receive('c2', 'two');
    await waitFor(() => {
      const row = document.querySelector('[data-id=c2]');
      expect(row?.getAttribute('data-unread')).toBe('2');
    });
    const { unread } = await shell.status();
    await waitFor(() => expect(document.title).toBe(`(${unread}) Kith`));
  });

  it('000-02: opens an existing chat at once and asks for a first message otherwise', async () => {
    const shell = await start();
    const startDirect = vi.spyOn(shell, 'startDirect');
    await fireEvent.click(await screen.findByTestId('new-chat-button'));
    const people = await screen.findAllByTestId('person-row');
    const person = (name: string) => people.find((row) => row.dataset.username === name) as HTMLElement;
    await fireEvent.click(person('bo.nilsson'));
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe('Bo Nilsson'));

    await fireEvent.click(screen.getByTestId('new-chat-button'));
    const again = await screen.findAllByTestId('person-row');
    await fireEvent.click(again.find((row) => row.dataset.username === 'dana') as HTMLElement);
    const first = (await screen.findByTestId('first-message')) as HTMLTextAreaElement;
    await write(first, 'Hello Dana');
    await fireEvent.click(screen.getByTestId('first-message-send'));
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe('Dana'));
    expect(startDirect).toHaveBeenCalledWith('p5', 'Hello Dana');
  });

  it('finds both messages where an id is used in two conversations', async () => {
    await start({
      fill: (world) => {
        for (const conversation of ['c1', 'c2']) {
          world.push(conversation, ME, 'twice the same id');
          Object.assign(world.row(conversation).items.at(-1) ?? {}, { id: 'same' });
        }
      },
    });
    await fireEvent.input(await screen.findByTestId('search-input'), { target: { value: 'twice' } });
    expect(await screen.findAllByTestId('search-hit')).toHaveLength(2);
  });

  it('finds messages and jumps to the hit', async () => {
    await start();
    await fireEvent.input(await screen.findByTestId('search-input'), { target: { value: 'invitation' } });
    const hits = await screen.findAllByTestId('search-hit');
    const wanted = hits[0]?.dataset.message;
    await fireEvent.click(hits[0] as HTMLElement);
    await waitFor(() => expect(document.querySelector(`[data-id="${wanted}"].marked`)).not.toBeNull());
  });
});

describe('the connection', () => {
  it('tells the truth, lists what is unsent and lets it be cancelled', async () => {
    const shell = await start();
    const area = await open('c1');
    shell.online(false);
    await waitFor(() => expect(screen.getAllByTestId('link-state')[0]?.dataset.state).toBe('offline'));
    await write(area, 'written offline');
    await fireEvent.keyDown(area, { key: 'Enter' });
    await waitFor(() => {
      const last = screen.getAllByTestId('message').at(-1);
      expect(last?.dataset.state).toBe('queued');
    });
    await fireEvent.click((await screen.findAllByTestId('unsent-button'))[0] as HTMLElement);
    const item = await screen.findByTestId('unsent-item');
    expect(item.textContent).toContain('written offline');
    await fireEvent.click(within(item).getByTestId('unsent-cancel'));
    await waitFor(() => expect(screen.queryByTestId('unsent-item')).toBeNull());
  });
});

describe('what arrives', () => {
  it('is heeded together while there is much of it', async () => {
    const shell = await start();
    await open('c1');
    const lists = vi.spyOn(shell, 'conversations');
    const pages = vi.spyOn(shell, 'timeline');
    for (let at = 0; at < 100; at += 1) shell.receive('c1', `text ${at}`);
    await waitFor(() => expect(texts()).toContain('text 99'));
    expect(lists.mock.calls.length).toBeLessThan(10);
    expect(pages.mock.calls.length).toBeLessThan(20);
  });
});

describe('drawing', () => {
  it('says when the list is drawn from what is stored, whatever the network does', async () => {
    const shell = createFake();
    shell.online(false);
    const painted = vi.spyOn(shell, 'painted');
    render(Root, { shell });
    await waitFor(() => expect(painted).toHaveBeenCalledWith('list'));
    expect(document.querySelectorAll('[data-testid=conversation-row]').length).toBeGreaterThan(3);
    expect(screen.getAllByTestId('link-state')[0]?.dataset.state).toBe('offline');
  });

  it('says so once, also when it is unlocked later or a newer answer overtakes the first one', async () => {
    const shell = createFake();
    const painted = vi.spyOn(shell, 'painted');
    const lists = () => painted.mock.calls.filter(([what]) => what === 'list').length;
    const locked = { state: 'locked', server: null, username: null, trouble: null } as const;
    vi.spyOn(shell, 'appState').mockResolvedValueOnce(locked);
    const read = shell.conversations.bind(shell);
    let answer: () => void = () => undefined;
    const asked = vi.spyOn(shell, 'conversations').mockImplementationOnce(async () => {
      await new Promise<void>((done) => (answer = done));
      return read();
    });
    const app = new App(shell);
    await app.start();
    expect(lists()).toBe(0);
    const first = app.refreshState();
    await waitFor(() => expect(asked).toHaveBeenCalledTimes(1));
    await app.refreshState();
    await waitFor(() => expect(lists()).toBe(1));
    answer();
    await first;
    await app.refreshState();
    expect(asked).toHaveBeenCalledTimes(3);
    expect(lists()).toBe(1);
  });

  it('a44 is told once it was done, and a start that had to be repeated is said', async () => {
    const shell = createFake();
    const painted = vi.spyOn(shell, 'painted').mockResolvedValue(true);
    render(Root, { shell });
    expect((await screen.findByTestId('toast')).textContent).toContain('compatibility mode');
    expect(painted.mock.calls.filter(([what]) => what === 'frame')).toHaveLength(1);
  });
});

describe('what is on screen', () => {
  it('is no conversation while another view is shown, so that its messages are announced', async () => {
    const shell = await start();
    const focus = vi.spyOn(shell, 'setFocus');
    await open('c1');
    await waitFor(() => expect(focus).toHaveBeenLastCalledWith(['c1']));
    await fireEvent.keyDown(window, { key: ',', ctrlKey: true });
    await waitFor(() => expect(focus).toHaveBeenLastCalledWith([]));
    await fireEvent.keyDown(window, { key: 'Escape' });
    await waitFor(() => expect(focus).toHaveBeenLastCalledWith(['c1']));
  });
});
