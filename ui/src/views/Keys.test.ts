import { fireEvent, render, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import Root from '../Root.svelte';
import type { KeyOffer } from '../lib/ipc/engine';
import { createFake } from '../lib/ipc/fake';
import { open, start, write } from '../test-kit';

const click = async (id: string) => fireEvent.click(await screen.findByTestId(id));
const type = async (id: string, text: string) => write(await screen.findByTestId(id), text);
const text = async (id: string) => (await screen.findByTestId(id)).textContent;
const NO_STORE: KeyOffer = {
  reason: 'no_store',
  has_history: false,
  unsent: null,
  secret_store_usable: false,
};

async function twice(passphrase: string, again = passphrase) {
  await type('passphrase-new', passphrase);
  await type('passphrase-again', again);
  await click('passphrase-submit');
}

describe('a profile under a passphrase', () => {
  it('sec_085 asks for it before anything else, and a wrong one is said', async () => {
    const shell = await start({ locked: true });
    const list = vi.spyOn(shell, 'conversations');
    await type('unlock-passphrase', 'not the passphrase');
    await click('unlock-submit');
    expect(await text('unlock-error')).toContain('Wrong passphrase');
    expect(list).not.toHaveBeenCalled();
    await type('unlock-passphrase', 'correct horse battery');
    await click('unlock-submit');
    await screen.findAllByTestId('conversation-row');
  });

  it('says how long to wait after too many wrong ones', async () => {
    const shell = await start({ locked: true });
    vi.spyOn(shell, 'unlock').mockRejectedValue({ code: 'passphrase_wait', retry_after_ms: 9_400 });
    await type('unlock-passphrase', 'not the passphrase');
    await click('unlock-submit');
    expect(await text('unlock-error')).toContain('Try again in 10 seconds');
  });

  it('leads to a new sign-in and back, and then asks how to keep it', async () => {
    await start({ locked: true });
    await click('unlock-forgot');
    expect(await text('signin-forgot')).toContain('Nothing is deleted');
    await click('signin-remember');
    await screen.findByTestId('unlock-passphrase');
    await click('unlock-forgot');
    await type('signin-username', 'ada');
    await type('signin-password', 'correct horse');
    await click('signin-submit');
    expect(await text('offer-aside')).toMatch(
      /old file is renamed and kept for 30 days\. 2 unsent items are in it/,
    );
  });

  it.each([
    ['newer', /newer version/],
    ['damaged', /damaged.*kept as it is/],
    ['no_access', /cannot be read/],
  ] as const)('says of a file that is %s what to do', async (trouble, sentence) => {
    const shell = createFake({ locked: trouble });
    const again = vi.spyOn(shell, 'tryAgain');
    render(Root, { shell });
    expect(await text('unlock-trouble')).toMatch(sentence);
    expect(screen.queryByTestId('unlock-passphrase')).toBeNull();
    await click('unlock-again');
    expect(again).toHaveBeenCalledOnce();
  });
});

describe('an open profile under a passphrase', () => {
  async function unlocked() {
    const shell = await start({ locked: true });
    await type('unlock-passphrase', 'correct horse battery');
    await click('unlock-submit');
    await screen.findAllByTestId('conversation-row');
    return shell;
  }

  it('sec_086 is locked at once, and nothing of it is left on the screen', async () => {
    const shell = await unlocked();
    const draft = vi.spyOn(shell, 'setDraft');
    await write(await open('c1'), 'half a thought');
    await fireEvent.keyDown(window, { key: 'l', ctrlKey: true });
    await screen.findByTestId('unlock-passphrase');
    expect(draft).toHaveBeenCalledWith('c1', 'half a thought');
    expect(document.body.textContent).not.toContain('Bo Nilsson');
    expect(screen.queryByTestId('conversation-row')).toBeNull();
    expect(document.title).toBe('Kith');
  });

  it('sec_086 is locked after the chosen time without a key or a move, and not before', async () => {
    await unlocked();
    await click('settings-button');
    await fireEvent.change(await screen.findByTestId('lock-after'), { target: { value: '5' } });
    vi.useFakeTimers({ now: Date.now(), toFake: ['Date', 'setInterval', 'clearInterval'] });
    try {
      await fireEvent.change(screen.getByTestId('lock-after'), { target: { value: '15' } });
      await fireEvent.change(screen.getByTestId('lock-after'), { target: { value: '5' } });
      vi.advanceTimersByTime(4 * 60_000);
      await fireEvent.pointerMove(window);
      vi.advanceTimersByTime(4 * 60_000);
      expect(screen.queryByTestId('unlock-passphrase')).toBeNull();
      vi.advanceTimersByTime(2 * 60_000);
    } finally {
      vi.useRealTimers();
    }
    await screen.findByTestId('unlock-passphrase');
  });

  it('sec_086 is not locked where only the secret store keeps it', async () => {
    const shell = await start();
    const lock = vi.spyOn(shell, 'lock');
    await click('settings-button');
    await screen.findByTestId('set-passphrase');
    expect(screen.queryByTestId('lock-after')).toBeNull();
    await fireEvent.keyDown(window, { key: 'l', ctrlKey: true });
    expect(lock).not.toHaveBeenCalled();
  });
});

describe('a sign-in that nothing keeps', () => {
  it('a30 offers a passphrase in clear words, and keeps the sign-in with it', async () => {
    const shell = await start({ offer: NO_STORE });
    const set = vi.spyOn(shell, 'setPassphrase');
    expect(await text('offer')).toMatch(/You are signed in\. But Secret Service/);
    expect(screen.queryByTestId('offer-store')).toBeNull();
    await click('offer-passphrase');
    await twice('short');
    expect(await text('passphrase-error')).toContain('8 to 256');
    await twice('correct horse battery', 'correct horse batterY');
    expect(await text('passphrase-error')).toContain('differ');
    expect(set).not.toHaveBeenCalled();
    await twice('correct horse battery');
    await screen.findAllByTestId('conversation-row');
    expect(set).toHaveBeenCalledExactlyOnceWith('correct horse battery');
  });

  it('lasts until Kith quits if that is enough', async () => {
    const shell = await start({ offer: NO_STORE });
    const keep = vi.spyOn(shell, 'keepUntilQuit');
    await click('offer-until-quit');
    await screen.findAllByTestId('conversation-row');
    expect(keep).toHaveBeenCalledOnce();
  });

  it('a32 can be kept in a secret store that was unlocked since, and says if it was not', async () => {
    await start({ offer: NO_STORE });
    await click('offer-unlock');
    expect(await text('offer-error')).toContain('cannot be used');
    await screen.findByTestId('offer-passphrase');
  });

  it('sec_085 says of a history whose key is lost that it is kept, and what was unsent', async () => {
    await start({
      offer: { reason: 'key_missing', has_history: true, unsent: null, secret_store_usable: true },
    });
    expect(await text('offer-aside')).toContain('Whether something in it was unsent is not known.');
    await click('offer-store');
    await screen.findAllByTestId('conversation-row');
  });

  it('is not told a second time as a problem', async () => {
    const shell = await start({ offer: NO_STORE });
    shell.tell({ type: 'problem', problem: { kind: 'no_secret_store' } });
    shell.tell({ type: 'problem', problem: { kind: 'disk_full' } });
    await waitFor(() => expect(screen.getAllByTestId('toast')).toHaveLength(1));
    expect(await text('toast')).toContain('disk is full');
  });
});

describe('the place of sign-in and key', () => {
  const settings = async (options = {}) => {
    const shell = await start(options);
    await click('settings-button');
    return shell;
  };

  it('sec_085 is named in the settings and can be changed', async () => {
    await settings();
    expect(await text('key-store')).toContain('Storage location: Secret Service');
    await click('set-passphrase');
    await twice('correct horse battery');
    await waitFor(async () => expect(await text('key-store')).toContain('Storage location: Encrypted file'));
    await click('change-passphrase');
    await type('passphrase-current', 'not the passphrase');
    await twice('another passphrase');
    expect(await text('passphrase-error')).toContain('Wrong passphrase');
    await type('passphrase-current', 'correct horse battery');
    await click('passphrase-submit');
    await waitFor(() => expect(screen.queryByTestId('passphrase-submit')).toBeNull());
    await click('use-store');
    await waitFor(async () => expect(await text('key-store')).toContain('Storage location: Secret Service'));
  });

  it('may be nothing, and that is said', async () => {
    const shell = createFake();
    const app = await shell.appState();
    if (app.state !== 'signed_in') throw new Error('signed in');
    const account = { ...app.account, key_store: 'session_only' as const };
    vi.spyOn(shell, 'appState').mockResolvedValue({ ...app, account });
    render(Root, { shell });
    await click('settings-button');
    expect(await text('key-store')).toMatch(/Memory, until you quit.*unsent messages are lost/);
    await screen.findByTestId('set-passphrase');
    expect(await text('use-store')).toMatch(/Use\s+Secret Service/);
  });
});
