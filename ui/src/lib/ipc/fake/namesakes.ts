/** People who share a name, wherever a name can stand: list, header, messages, quotes, notices, answers of a search. */
import type { PersonView } from '../engine';
import { BO, CLEO } from './people';
import type { World } from './world';

/** Two people with the names of others: one short, one longer than its place. */
export const BO_TOO: PersonView = { ...BO, id: 'p6', username: 'bo.with-a-rather-long-user-name.01' };
export const CLEO_TOO: PersonView = { ...CLEO, id: 'p7', username: 'cleo.p' };

export function addNamesakes(world: World): void {
  world.add('c6', BO_TOO.display_name, [BO_TOO], 'direct');
  world.push('c6', BO_TOO, 'We have not met before.');
  world.add('c7', CLEO_TOO.display_name, [CLEO_TOO], 'direct');
  world.push('c7', CLEO_TOO, 'Nor have we.');
  const people = [BO, BO_TOO, CLEO, CLEO_TOO];
  world.add('c8', 'Namesakes', people, 'group').items.push({
    type: 'notice',
    id: 'n2',
    order: 0.5,
    ts: Date.now(),
    actor: BO,
    what: { kind: 'member', user: BO_TOO, change: 'added', role: 'member' },
  });
  for (const person of people) world.push('c8', person, `I am @${person.username}.`);
  const quoted = world.message(CLEO_TOO, 'I am the other one.', 5);
  world.push('c8', BO_TOO, 'So am I.', {
    id: quoted.id,
    sender: CLEO_TOO,
    text: quoted.text,
    deleted: false,
  });
}
