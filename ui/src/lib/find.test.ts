import { describe, expect, it } from 'vitest';
import { best, fit } from './find';

describe('finding names', () => {
  it('needs every word, in any name, without regard to case and accents', () => {
    expect(fit('jose', ['José Álvarez'])).toBe(0);
    expect(fit('ALVAREZ jo', ['José Álvarez'])).toBe(1);
    expect(fit('bo nils', ['Bo Nilsson', 'bo.nilsson'])).toBe(0);
    expect(fit('bo smith', ['Bo Nilsson'])).toBeNull();
    expect(fit('花', ['山田 花子'])).toBe(1);
    expect(fit('', ['anything'])).toBe(0);
  });

  it('puts what begins so before what only holds it, and keeps the order otherwise', () => {
    const all = ['Carbon', 'Bo', 'Ada Boole', 'Bob'];
    expect(best('bo', all, (each) => [each])).toEqual(['Bo', 'Bob', 'Ada Boole', 'Carbon']);
  });
});
