import { describe, expect, it } from 'vitest';
import { itemSentence, sentence } from './errors';

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
