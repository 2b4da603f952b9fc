import { fireEvent, screen, waitFor } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import { start, write } from '../test-kit';

async function newGroup(): Promise<HTMLButtonElement> {
  await start();
  await fireEvent.click(await screen.findByTestId('new-group-button'));
  return (await screen.findByTestId('group-create')) as HTMLButtonElement;
}

describe('a new group', () => {
  it('begins with its title', async () => {
    await newGroup();
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId('group-title')));
  });

  it('says with how many people it is created once somebody is chosen', async () => {
    const create = await newGroup();
    expect([create.textContent.trim(), create.disabled]).toEqual(['Create group', true]);
    await write(screen.getByTestId('group-title'), 'Panel');
    const people = await screen.findAllByTestId('person-row');
    await fireEvent.click(people[0] as HTMLElement);
    expect([create.textContent.trim(), create.disabled]).toEqual(['Create with 1 person', false]);
    await fireEvent.click(people[1] as HTMLElement);
    expect(create.textContent.trim()).toBe('Create with 2 people');
  });

  it('says when nobody is found', async () => {
    await newGroup();
    await screen.findAllByTestId('person-row');
    expect(screen.queryByText('No one found.')).toBeNull();
    await write(screen.getByTestId('group-query'), 'nobody of this name');
    expect(await screen.findByText('No one found.')).toBeTruthy();
  });
});
