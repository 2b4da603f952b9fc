import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it, vi } from 'vitest';
import { HOSTILE } from '../../hostile';
import { attend, message, open, row, settled, start, texts } from '../../test-kit';

async function shown(text: string): Promise<HTMLElement> {
  const shell = await start();
  await open('c2');
  const id = shell.receive('c2', text);
  return waitFor(() => {
    const found = document.querySelector<HTMLElement>(`[data-id="${id}"] [data-testid=message-text]`);
    expect(found).not.toBeNull();
    return found as HTMLElement;
  });
}

describe('what a message says', () => {
  it('sec_062 is as harmless in a name, a title, a preview, a quote and a draft', async () => {
    const shell = await start();
    const bad = '<img src=x onerror="alert(1)"><b>bold</b>';
    await shell.setTitle('c5', bad);
    await shell.setDraft('c3', bad);
    await shell.setDisplayName(bad);
    const area = await open('c5');
    const first = screen.getAllByTestId('message')[0]?.dataset.id ?? '';
    await shell.editMessage('c5', first, bad);
    await shell.sendMessage('c5', 'answer', first);
    await message('answer');
    await waitFor(() => expect(screen.getByTestId('header-title').textContent).toBe(bad));
    expect((await row('c3')).textContent).toContain(bad);
    expect(document.querySelector('.quote')?.textContent).toContain(bad);
    expect(area.ariaLabel).toBe(`Message to ${bad}`);
    await fireEvent.keyDown(window, { key: 'k', ctrlKey: true });
    await screen.findByTestId('switcher-input');
    expect(document.querySelectorAll('img, b')).toHaveLength(0);
  });

  it('is drawn with its markup', async () => {
    const text = await shown('**Yes**, _on_ `Tuesday`:\n> at ten\n- one\n- two\n3. three\n```\nlet a;\n```');
    const drawn = (tag: string) => [...text.querySelectorAll(tag)].map((each) => each.textContent);
    expect(drawn('strong')).toEqual(['Yes']);
    expect(drawn('em')).toEqual(['on']);
    expect(drawn('code')).toEqual(['Tuesday']);
    expect(drawn('blockquote')).toEqual(['at ten']);
    expect(drawn('li')).toEqual(['one', 'two', 'three']);
    expect(text.querySelector('ol')?.start).toBe(3);
    expect(drawn('pre')).toEqual(['let a;']);
  });

  it('keeps lines and blanks as they were written', async () => {
    await shown('one\n\n  two   three');
    expect(texts()).toContain('one\n\n  two   three');
  });

  it('is drawn in a moment, however it is nested', async () => {
    const shell = await start();
    await open('c2');
    const started = performance.now();
    for (const text of HOSTILE.filter((each) => each.length > 3_000)) shell.receive('c2', text);
    await settled();
    await waitFor(() => expect(screen.getAllByTestId('message').length).toBeGreaterThan(6));
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('is plain in the list and for a screen reader', async () => {
    attend(false);
    const shell = await start();
    await open('c2');
    shell.receive('c2', '**Yes**, see [the plan](https://example.org)');
    await waitFor(async () => expect((await row('c2')).textContent).toContain('Yes, see the plan'));
    expect((await message('Yes, see the plan (example.org)')).ariaLabel).toContain('Yes, see the plan');
  });
});

function linkTo(href: string): Promise<HTMLAnchorElement> {
  return waitFor(() => {
    const found = [...document.querySelectorAll('a')].find((each) => each.href === href);
    expect(found).toBeDefined();
    return found as HTMLAnchorElement;
  });
}

describe('a link in a message', () => {
  it('sec_065 opens outside and says where it leads when its text does not', async () => {
    const text = await shown('[your bank](https://evil.example/a) https://example.org/');
    const [disguised, honest] = text.querySelectorAll('a');
    expect(disguised?.nextElementSibling?.textContent?.trim()).toBe('(evil.example)');
    expect(disguised?.title).toBe('Opens evil.example');
    expect(honest?.nextElementSibling).toBeNull();
  });

  it('is handed to the shell, and the window stays', async () => {
    const shell = await start();
    const opened = vi.spyOn(shell, 'openLink');
    await open('c2');
    shell.receive('c2', 'https://example.org/x');
    const link = await linkTo('https://example.org/x');
    const isLeft = await fireEvent.click(link);
    expect(isLeft).toBe(false);
    expect(opened).toHaveBeenCalledWith('https://example.org/x');
  });

  it('sec_065 asks before it is opened when its text says something else', async () => {
    const shell = await start();
    const opened = vi.spyOn(shell, 'openLink');
    await open('c2');
    shell.receive('c2', '[https://bank.example](https://evil.example/a)');
    await fireEvent.click(await linkTo('https://evil.example/a'));
    const dialog = screen.getByRole('dialog');
    expect(screen.getByTestId('doubtful-host').textContent).toBe('evil.example');
    expect(document.getElementById(dialog.getAttribute('aria-describedby') ?? '')?.textContent).toMatch(
      /leads to evil\.example .*shows a different address/,
    );
    expect(opened).not.toHaveBeenCalled();
    await fireEvent.click(screen.getByTestId('doubtful-cancel'));
    expect(screen.queryByRole('dialog')).toBeNull();
    expect(opened).not.toHaveBeenCalled();
    await fireEvent.click(await linkTo('https://evil.example/a'));
    await fireEvent.click(screen.getByTestId('doubtful-open'));
    expect(screen.queryByRole('dialog')).toBeNull();
    expect(opened).toHaveBeenCalledExactlyOnceWith('https://evil.example/a');
  });

  it('sec_065 says of a link whose text is words that it does not show where it leads', async () => {
    const shell = await start();
    await open('c2');
    shell.receive('c2', '[click me](https://example.org/)');
    await fireEvent.click(await linkTo('https://example.org/'));
    const text = screen.getByRole('dialog').textContent;
    expect(text).toContain('The link text does not show where the link leads.');
    expect(text).not.toContain('different address');
  });

  it('sec_065 shows a host with other letters as computers read it, and asks', async () => {
    const shell = await start();
    const opened = vi.spyOn(shell, 'openLink');
    await open('c2');
    shell.receive('c2', 'https://\u0430pple.example/ and https://xn--80ak6aa92e.com/');
    await fireEvent.click(await linkTo('https://xn--pple-43d.example/'));
    expect(screen.getByTestId('doubtful-host').textContent).toBe('xn--pple-43d.example');
    expect(screen.getByRole('dialog').textContent).toContain('letters that can look like others');
    await fireEvent.keyDown(window, { key: 'k', ctrlKey: true });
    expect(screen.queryByTestId('switcher-input'), 'no other dialog comes over it').toBeNull();
    await fireEvent.click(screen.getByTestId('doubtful-cancel'));
    await fireEvent.click(await linkTo('https://xn--80ak6aa92e.com/'));
    expect(screen.getByTestId('doubtful-host').textContent).toBe('xn--80ak6aa92e.com');
    expect(opened).not.toHaveBeenCalled();
  });

  it('says so when it was refused', async () => {
    const shell = await start({ failing: { openLink: 'link_refused' } });
    await open('c2');
    shell.receive('c2', 'https://example.org/y');
    const link = await linkTo('https://example.org/y');
    await fireEvent.click(link);
    expect((await screen.findByTestId('toast')).textContent).toContain('Blocked');
  });

  it('to a place in the app goes there without leaving it', async () => {
    const shell = await start();
    const opened = vi.spyOn(shell, 'openLink');
    await open('c2');
    shell.receive('c2', 'write to kith://start?with=dana please');
    const link = await linkTo('kith://start?with=dana');
    await fireEvent.click(link);
    expect(await screen.findByTestId('first-message')).toBeTruthy();
    expect(opened).not.toHaveBeenCalled();
  });
});
