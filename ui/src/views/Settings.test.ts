import { fireEvent, render, screen, waitFor, within } from '@testing-library/svelte';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { AppState } from '../lib/ipc/engine';
import { createFake } from '../lib/ipc/fake';
import { open, start, write } from '../test-kit';
import Root from '../Root.svelte';

async function settings(options = {}) {
  const shell = await start(options);
  await fireEvent.click(await screen.findByTestId('settings-button'));
  await screen.findByText('Old computer');
  return shell;
}

afterEach(() => delete document.documentElement.dataset.theme);

describe('settings', () => {
  it('change how the window looks at once, and follow the system again', async () => {
    const shell = await settings();
    await fireEvent.click(screen.getByLabelText('Dark'));
    await waitFor(() => expect(document.documentElement.dataset.theme).toBe('dark'));
    expect(await shell.getSettings()).toMatchObject({ theme: 'dark' });
    await fireEvent.click(screen.getByLabelText('Match system'));
    await waitFor(() => expect(document.documentElement.dataset.theme).toBeUndefined());
  });

  it('choose what notifications say without touching the rest', async () => {
    const shell = await settings();
    await fireEvent.click(screen.getByLabelText('Only that a message came'));
    await fireEvent.click(screen.getByLabelText(/in the tray/));
    await waitFor(async () =>
      expect(await shell.getSettings()).toEqual({
        theme: 'system',
        notifications: 'private',
        close_to_tray: false,
        look_for_updates: true,
        lock_after_minutes: 0,
      }),
    );
  });

  it('show what is stored when a change cannot be stored', async () => {
    await settings({ failing: { setSettings: 'disk_full' } });
    await fireEvent.click(screen.getByLabelText('None'));
    expect((await screen.findByTestId('toast')).textContent).toContain('disk is full');
    await waitFor(() =>
      expect((screen.getByLabelText('Name and text') as HTMLInputElement).checked).toBe(true),
    );
    expect((screen.getByLabelText('None') as HTMLInputElement).checked).toBe(false);
  });

  it('say what is wrong with a password that is too easy to guess', async () => {
    await settings({ failing: { changePassword: 'invalid' } });
    await fireEvent.click(screen.getByRole('button', { name: /Change password/ }));
    await write(screen.getByLabelText(/password until now|current password/i), 'correct horse');
    await write(screen.getByLabelText(/new password/i), 'password1');
    await fireEvent.click(screen.getByRole('button', { name: /^Change/ }));
    expect((await screen.findByRole('alert')).textContent).toContain('not easy to guess');
  });

  it('change the name that others see', async () => {
    await settings();
    await write(screen.getByLabelText('Your name, as others see it'), ' Augusta ');
    await fireEvent.click(screen.getByRole('button', { name: 'Rename' }));
    await waitFor(() => expect(document.querySelector('.sidebar .me')?.textContent).toContain('Augusta'));
    expect((screen.getByRole('button', { name: 'Rename' }) as HTMLButtonElement).disabled).toBe(true);
  });
});

describe('newer versions', () => {
  const available = { state: 'available', version: '0.2.0', notes: 'Faster.\n<b>Bolder</b>' } as const;

  it('are offered in the list, and installed only when somebody says so', async () => {
    const shell = await start();
    const install = vi.spyOn(shell, 'installUpdate');
    shell.updated(available);
    await fireEvent.click(await screen.findByTestId('update-offer'));
    expect((await screen.findByTestId('update')).textContent).toContain('Kith 0.2.0 is available');
    expect(screen.getByText(/<b>Bolder<\/b>/)).toBeTruthy();
    expect(install).not.toHaveBeenCalled();
    await fireEvent.click(screen.getByTestId('update-install'));
    expect(install).toHaveBeenCalledOnce();
    expect(screen.queryByTestId('update-offer')).toBeNull();
  });

  it('are asked for on demand', async () => {
    await settings();
    await fireEvent.click(screen.getByTestId('update-look'));
    await waitFor(() => expect(screen.getByTestId('update').textContent).toContain('This is the newest'));
  });

  it.each([
    ['update_untrusted', /not signed.*deleted/],
    ['update_insecure', /https:/],
    ['update_unreachable', /Can't reach the update server/],
    ['update_not_installed', /could not be written/],
  ])('say of %s why, and that the old one goes on', async (code, why) => {
    const shell = await settings();
    shell.updated({ state: 'failed', code, version: '0.2.0' });
    const text = (await screen.findByRole('alert')).textContent;
    expect(text).toMatch(why);
    expect(text).toMatch(/Kith 0\.1\.0 goes on as it is/);
    expect(screen.getByTestId('update-look').textContent).toContain('Check again');
  });

  it('show how far they are, and nothing can be begun twice', async () => {
    const shell = await settings();
    shell.updated({ state: 'loading', version: '0.2.0', done: 2_500_000, total: 10_000_000 });
    await waitFor(() => expect(screen.getByTestId('update').textContent).toMatch(/2\.5\s+of 10\.0\s+MB/));
    expect((screen.getByTestId('update-look') as HTMLButtonElement).disabled).toBe(true);
  });

  it('are not asked for by a copy that nobody could replace', async () => {
    const shell = await settings();
    shell.updated({ state: 'off' });
    await waitFor(() =>
      expect(screen.getByTestId('update').textContent).toContain('does not check for updates'),
    );
    expect(screen.queryByTestId('update-look')).toBeNull();
  });

  it('are not looked for by itself when that is switched off', async () => {
    const shell = await settings();
    await fireEvent.click(screen.getByLabelText('Check for updates daily'));
    await waitFor(async () => expect(await shell.getSettings()).toMatchObject({ look_for_updates: false }));
  });
});

describe('devices', () => {
  it('are listed, the own one without a way to end it from here', async () => {
    await settings();
    const own = screen.getByText('This laptop').closest('li') as HTMLElement;
    expect(own.textContent).toContain('this one');
    expect(within(own).queryByRole('button')).toBeNull();
  });

  async function revoke(password: string) {
    const other = screen.getByText('Old computer').closest('li') as HTMLElement;
    await fireEvent.click(within(other).getByRole('button', { name: /Sign out/ }));
    const dialog = await screen.findByRole('dialog');
    const end = within(dialog).getByRole('button', { name: 'Sign out' }) as HTMLButtonElement;
    expect(end.disabled).toBe(true);
    await write(within(dialog).getByLabelText('Your password'), password);
    await fireEvent.click(end);
    return dialog;
  }

  it('are signed out with the password', async () => {
    const shell = await settings();
    const end = vi.spyOn(shell, 'revokeSession');
    await revoke('correct horse');
    await waitFor(() => expect(screen.queryByText('Old computer')).toBeNull());
    expect(end).toHaveBeenCalledWith('d2', 'correct horse');
    expect(screen.queryByRole('dialog')).toBeNull();
  });

  it('are all signed out but this one, with the password', async () => {
    const shell = await settings();
    const end = vi.spyOn(shell, 'revokeOtherSessions');
    await fireEvent.click(screen.getByTestId('end-others'));
    const dialog = await screen.findByRole('dialog');
    await write(within(dialog).getByLabelText('Your password'), 'correct horse');
    await fireEvent.click(within(dialog).getByRole('button', { name: 'Sign out all' }));
    await waitFor(() => expect(screen.queryByText('Travel laptop')).toBeNull());
    expect(end).toHaveBeenCalledWith('correct horse');
    expect(screen.queryByTestId('end-others')).toBeNull();
    expect(screen.getByText('This laptop')).toBeTruthy();
  });

  it('stay when the password is wrong, and it says so', async () => {
    await settings({ failing: { revokeSession: 'credentials_invalid' } });
    const dialog = await revoke('wrong');
    expect((await within(dialog).findByRole('alert')).textContent).toContain('Wrong username or password');
    expect(screen.getByText('Old computer')).toBeTruthy();
  });

  it('are asked for again when the server comes back', async () => {
    const shell = await start({ failing: { sessions: 'offline' } });
    shell.online(false);
    await fireEvent.click(await screen.findByTestId('settings-button'));
    await screen.findByText(/Can't reach the server/);
    shell.sessions = async () => [
      { device: 'd9', name: 'Back again', created_at: 1, last_seen: 1, current: false },
    ];
    shell.online(true);
    expect(await screen.findByText('Back again')).toBeTruthy();
  });
});

describe('signing out', () => {
  it('tells what is unsent and keeps the history unless it is told otherwise', async () => {
    const shell = await start();
    const area = await open('c1');
    shell.online(false);
    await write(area, 'not there yet');
    await fireEvent.keyDown(area, { key: 'Enter' });
    const out = vi.spyOn(shell, 'signOut');
    await fireEvent.click(screen.getByTestId('settings-button'));
    await fireEvent.click(await screen.findByTestId('sign-out-button'));
    const dialog = await screen.findByRole('dialog');
    expect(dialog.textContent).toMatch(/1\s+item has not reached the server yet. Kith keeps it/);
    await fireEvent.click(screen.getByTestId('sign-out-wipe'));
    expect(dialog.textContent).toContain('will be lost');
    await fireEvent.click(screen.getByTestId('sign-out-wipe'));
    await fireEvent.click(screen.getByTestId('sign-out-confirm'));
    expect(await screen.findByTestId('signin-submit')).toBeTruthy();
    expect(out).toHaveBeenCalledWith(false);
  });

  it('promises nothing of a database that ends with the session', async () => {
    const shell = await settings();
    const preview = { unsent: 2, messages: 5, is_temporary: true };
    vi.spyOn(shell, 'signOutPreview').mockResolvedValue(preview);
    await fireEvent.click(screen.getByTestId('sign-out-button'));
    const dialog = await screen.findByRole('dialog');
    expect(dialog.textContent).toMatch(/2\s+items have not reached the server yet. They will be lost/);
    expect(dialog.textContent).not.toContain('stays on this computer');
    expect(screen.queryByTestId('sign-out-wipe')).toBeNull();
  });

  it('wipes when it is told to, and nothing of the account is left in the window', async () => {
    const shell = await settings();
    const out = vi.spyOn(shell, 'signOut');
    await fireEvent.click(screen.getByTestId('sign-out-button'));
    await fireEvent.click(await screen.findByTestId('sign-out-wipe'));
    await fireEvent.click(screen.getByTestId('sign-out-confirm'));
    await screen.findByTestId('signin-submit');
    expect(out).toHaveBeenCalledWith(true);
    expect(document.body.textContent).not.toContain('Bo Nilsson');
    expect(document.title).toBe('Kith');
  });

  it.each([
    [
      1,
      1,
      /^1 item has .* Kith keeps it and sends it/,
      /^1 item has .* It will be lost\.$/,
      '1 stored message and',
    ],
    [
      2,
      3,
      /^2 items have .* keeps them and/,
      /^2 items have .* They will be lost\.$/,
      '3 stored messages and',
    ],
  ])('says of %i unsent and %i stored what becomes of them', async (unsent, messages, kept, lost, stored) => {
    const shell = await settings();
    vi.spyOn(shell, 'signOutPreview').mockResolvedValue({ unsent, messages, is_temporary: false });
    await fireEvent.click(screen.getByTestId('sign-out-button'));
    const wipe = await screen.findByTestId('sign-out-wipe');
    const text = (id: string) => screen.getByTestId(id).textContent.trim();
    expect(text('sign-out-unsent')).toMatch(kept);
    expect(text('sign-out-history')).toMatch(/stays on this computer/);
    expect(wipe.parentElement?.textContent).toContain(stored);
    await fireEvent.click(wipe);
    expect(text('sign-out-unsent')).toMatch(lost);
    expect(text('sign-out-history')).toMatch(/will be deleted from this computer/);
  });

  it('can be left', async () => {
    const shell = await settings();
    const out = vi.spyOn(shell, 'signOut');
    await fireEvent.click(screen.getByTestId('sign-out-button'));
    await fireEvent.click(await screen.findByRole('button', { name: 'Stay signed in' }));
    expect(screen.queryByRole('dialog')).toBeNull();
    expect(out).not.toHaveBeenCalled();
  });

  it('shows the list, not the settings, to who signs in next', async () => {
    await settings();
    await fireEvent.click(screen.getByTestId('sign-out-button'));
    await fireEvent.click(await screen.findByTestId('sign-out-confirm'));
    await write(await screen.findByTestId('signin-server'), 'chat.example.org');
    await write(screen.getByTestId('signin-username'), 'ada');
    await write(screen.getByTestId('signin-password'), 'correct horse');
    await fireEvent.click(screen.getByTestId('signin-submit'));
    await screen.findAllByTestId('conversation-row');
    expect(screen.queryByTestId('settings-view')).toBeNull();
  });
});

describe('a secret store that was locked at the start', () => {
  it('is tried again from the sign-in page', async () => {
    const shell = createFake({ signedIn: false });
    const locked = { state: 'signed_out', server: null, reason: 'key_missing', secret_store_usable: false };
    vi.spyOn(shell, 'appState').mockResolvedValueOnce(locked as AppState);
    const again = vi.spyOn(shell, 'tryAgain');
    render(Root, { shell });
    await fireEvent.click(await screen.findByTestId('signin-try-again'));
    expect(again).toHaveBeenCalledOnce();
    await waitFor(() => expect(screen.queryByTestId('signin-try-again')).toBeNull());
  });
});

describe('a history that cannot be opened', () => {
  const closed = (reason: string) =>
    ({ state: 'signed_out', server: null, reason, secret_store_usable: true }) as AppState;

  it.each([
    ['newer_file', /newer version of Kith\. Update Kith/, false],
    ['disk_full', /disk is full\. Free some space/, true],
    ['read_only', /Make it writable and try again/, true],
    ['file_busy', /Another program holds/, true],
    ['file_damaged', /damaged/, true],
    ['store_failed', /cannot be read or written/, true],
  ])('says of %s what to do', async (reason, sentence, canTryAgain) => {
    const shell = createFake({ signedIn: false });
    vi.spyOn(shell, 'appState').mockResolvedValue(closed(reason));
    render(Root, { shell });
    expect((await screen.findByRole('alert')).textContent).toMatch(sentence);
    expect(screen.queryByTestId('signin-try-again') !== null).toBe(canTryAgain);
  });
});

describe('a history that was damaged', () => {
  it('says what was saved and where the old file is, until it was read', async () => {
    const shell = createFake();
    const app = await shell.appState();
    const mended = {
      salvaged: 3,
      lost: 1,
      is_complete: false,
      file: '/home/ada/kith.db.damaged-1',
      kept_until: Date.UTC(2026, 11, 24, 12),
    };
    vi.spyOn(shell, 'appState').mockResolvedValueOnce({ ...app, mended } as AppState);
    const seen = vi.spyOn(shell, 'mendedSeen');
    render(Root, { shell });
    const text = (await screen.findByTestId('mended')).textContent;
    expect(text).toContain('3 unsent items and drafts were saved. 1 unsent item or draft could not be read.');
    expect(text).toContain('/home/ada/kith.db.damaged-1');
    expect(text).toMatch(/kept until .*2026/);
    await fireEvent.click(screen.getByText('Understood'));
    expect(seen).toHaveBeenCalledOnce();
    await waitFor(() => expect(screen.queryByTestId('mended')).toBeNull());
  });
});
