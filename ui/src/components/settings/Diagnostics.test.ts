import { fireEvent, screen, waitFor, within } from '@testing-library/svelte';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { start } from '../../test-kit';

const copied = vi.fn(async () => undefined);

beforeEach(() => {
  copied.mockClear();
  Object.defineProperty(navigator, 'clipboard', { value: { writeText: copied }, configurable: true });
});

async function diagnostics() {
  const shell = await start();
  await fireEvent.click(await screen.findByTestId('settings-button'));
  return { shell, part: within(await screen.findByTestId('diagnostics')) };
}

describe('diagnostics', () => {
  it('say that all is here, and what is missing without a connection', async () => {
    const { shell, part } = await diagnostics();
    expect(part.getByText('All known messages are downloaded.')).toBeTruthy();
    shell.online(false);
    await waitFor(() => expect(part.getByText(/missing in .* conversations.*not connected/)).toBeTruthy());
  });

  it('compare everything when asked', async () => {
    const { part } = await diagnostics();
    expect(part.getByText(/Not compared/)).toBeTruthy();
    await fireEvent.click(part.getByRole('button', { name: 'Check now' }));
    await waitFor(() => expect(part.getByText(/Last compared with the server/)).toBeTruthy());
  });

  it('copy numbers, and neither names nor titles', async () => {
    const { shell, part } = await diagnostics();
    await fireEvent.click(part.getByRole('button', { name: 'Copy diagnostics' }));
    const text = String((copied.mock.calls as unknown[][])[0]?.[0]);
    expect(text).toContain('gap_pulls 3');
    expect(text).toMatch(/in sync to #\d+ of #\d+, missing 0/);
    for (const { title } of await shell.conversations()) expect(text).not.toContain(title);
  });

  it('list the counters and each conversation', async () => {
    const { shell, part } = await diagnostics();
    await fireEvent.click(part.getByText('Numbers'));
    expect(part.getByText('Damaged parts fetched again')).toBeTruthy();
    const [first] = await shell.conversations();
    expect(part.getByText(first!.title)).toBeTruthy();
  });
});
