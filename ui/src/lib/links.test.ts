import { describe, expect, it } from 'vitest';
import { doubtsOf, findLinks, isPlain, targetOf } from './links';

const found = (text: string) => findLinks(text).map(({ from, to }) => text.slice(from, to));

describe('links in a text', () => {
  it.each([
    ['see https://example.org/a?b=1. Or not', ['https://example.org/a?b=1']],
    ['(https://example.org/wiki/A_(b)), really', ['https://example.org/wiki/A_(b)']],
    ['**https://example.org**', ['https://example.org']],
    ['HTTPS://EXAMPLE.org and mailto:a@b.example!', ['HTTPS://EXAMPLE.org', 'mailto:a@b.example']],
    ['kith://start?with=ada', ['kith://start?with=ada']],
    ['日本https://example.org 日本', ['https://example.org']],
    ['xhttps://example.org', []],
    ['<b>javascript:alert(1)</b> file:///etc ftp://x.example data:text/html,x', []],
  ])('%s', (text, links) => {
    expect(found(text)).toEqual(links);
  });

  it('sec_065 are none when they are made to look like another', () => {
    for (const address of [
      'https://bank.example@evil.example/',
      'https://user:pass@evil.example/',
      'https://bank.example\\@evil.example/',
      'https://exa\u202emple.org/',
      'https://exa\u200bmple.org/',
      'java\u0000script:alert(1)',
      'javascript:alert(1)',
      'vbscript:x',
      'data:text/html,<script>',
      'file:///etc/passwd',
      'mailto:nobody',
      'http://',
      `https://example.org/${'a'.repeat(3_000)}`,
    ]) {
      expect(targetOf(address), address).toBeNull();
    }
  });

  it('sec_065 show where they really lead unless their text says so', () => {
    const shows = (text: string, address = text) => {
      const target = targetOf(address);
      return target && !isPlain(text, target) ? target.host : null;
    };
    expect(shows('https://example.org/a')).toBeNull();
    expect(shows('mailto:a@b.example')).toBeNull();
    expect(shows('https://аpple.example/')).toMatch(/^xn--/);
    expect(shows('https://bank.example', 'https://evil.example')).toBe('evil.example');
    expect(shows('https://evil.example.bank.example', 'https://evil.example')).toBe('evil.example');
    expect(shows('here', 'https://example.org')).toBe('example.org');
  });

  it('sec_065 are doubtful when their text says something else, or their host can be taken for another', () => {
    const doubts = (address: string, text = address) => {
      const target = targetOf(address);
      return target && doubtsOf(text, target);
    };
    for (const plain of [
      'https://example.org/a?b#c',
      'HTTPS://Example.org',
      'mailto:a@b.example',
      'http://127.0.0.1:7480/',
    ]) {
      expect(doubts(plain), plain).toEqual([]);
    }
    for (const text of ['here', 'click me', 'the plan, 3rd version', '1. see this']) {
      expect(doubts('https://evil.example/', text), text).toEqual(['words']);
    }
    for (const text of [
      'https://bank.example',
      'log in at bank.example',
      'bank\u3002example',
      'ada@bank.example',
      'https://evil.example.bank.example',
      'https://evil.example/other',
      'http://evil.example/',
      'evil.example',
      'https://evil.example\u2024bank.example',
      'https://evil.example/\u202e',
    ]) {
      expect(doubts('https://evil.example/', text), text).toEqual(['text']);
    }
    expect(doubts('https://xn--80ak6aa92e.com/')).toEqual(['letters']);
    expect(doubts('https://www.xn--80ak6aa92e.com/')).toEqual(['letters']);
    expect(doubts('https://\u0430\u0440\u0440\u04cf\u0435.com/')).toEqual(['letters']);
    expect(doubts('https://goog\u043be.example/', 'https://google.example/')).toEqual(['text', 'letters']);
    expect(doubts('mailto:x@xn--80ak6aa92e.com')).toEqual(['letters']);
    expect(doubts('kith://start?with=ada', 'anything')).toEqual([]);
    // Dots that are none are dots to a resolver, and are shown so.
    for (const dot of ['\u3002', '\uff0e', '\uff61']) {
      const target = targetOf(`https://bank.example${dot}evil.example/`);
      expect(target?.host).toBe('bank.example.evil.example');
      expect(target && isPlain(`https://bank.example${dot}evil.example/`, target)).toBe(false);
    }
  });

  it('sec_066 are only those that a browser, a mail program or this app opens', () => {
    for (const address of [
      'file:///etc/passwd',
      'FILE:///etc/passwd',
      'smb://host/x',
      'ms-settings:privacy',
      'search-ms:query=x',
      '\\\\host\\share',
      '//example.org',
      'ftp://example.org',
      'tel:+1',
      'steam://run/1',
      'view-source:https://example.org',
      'blob:https://example.org/x',
      'tauri://localhost/',
      'ipc://localhost/quit',
      'about:blank',
      'chrome://settings',
      'data:text/html,x',
      'javascript:alert(1)',
      'vbscript:x',
    ]) {
      expect(targetOf(address), address).toBeNull();
    }
  });

  it('sec_056 lead to a place within the app only if they are strictly such links', () => {
    const id = '01890a5d-ac96-774b-bcce-b302099a8057';
    const inside = (address: string) => targetOf(address)?.inside ?? null;
    expect(inside('kith://start?with=bo.lind&context=job:7')).toEqual({
      kind: 'start',
      with: 'bo.lind',
      context: { kind: 'job', id: '7' },
    });
    expect(inside(`kith://c/${id}?m=${id}`)).toEqual({ kind: 'conversation', id, message: id });
    expect(inside(`kith://c/${id}`)).toEqual({ kind: 'conversation', id, message: null });
    for (const address of [
      'kith://',
      'kith://join?server=x',
      'kith://start',
      'kith://start?with=Ada',
      'kith://start?with=ada&with=bo',
      'kith://start?with=ada&x=1',
      'kith://start/x?with=ada',
      'kith://start?with=ada&context=job',
      'kith://c/1',
      `kith://c/${id}?m=1`,
      `kith://c/${id}/x`,
    ]) {
      expect(targetOf(address), address).toBeNull();
    }
  });
});
