import { describe, expect, it } from 'vitest';
import { explainChoice, itemSentence, mendedText, sentence } from './errors';

describe('the sentence of an unsent item', () => {
  it('names the limit that a reaction or a pin has met', () => {
    expect(itemSentence('reaction', 'too_large')).toContain('20 different reactions');
    expect(itemSentence('pin', 'too_large')).toContain('50 pinned messages');
  });

  it('is the general one elsewhere', () => {
    expect(itemSentence('message', 'too_large')).toBe(sentence('too_large'));
    expect(itemSentence('reaction', 'not_member')).toBe(sentence('not_member'));
  });
});

describe('other sentences', () => {
  it('say in plain words what a password needs', () => {
    expect(explainChoice({ code: 'invalid' })).toMatch(/not easy to guess\. .* Four unrelated words/);
  });

  it.each([
    [1, '1 unsent item or draft was saved.'],
    [2, '2 unsent items and drafts were saved.'],
  ])('count what was saved of a damaged history: %i', (salvaged, text) => {
    const mended = { salvaged, lost: 0, is_complete: true, file: '/f', kept_until: null };
    expect(mendedText(mended)).toContain(text);
  });
});
