/** Who is in the twin's world: oneself and people with names that are hard to lay out. */
import type { PersonView } from '../engine';

const person = (
  id: string,
  username: string,
  display_name: string,
  role: string | null = null,
): PersonView => ({
  id,
  username,
  display_name,
  role,
  avatar: null,
});

export const ME = person('me', 'ada.lovelace', 'Ada Lovelace');
export const BO = person('p1', 'bo.nilsson', 'Bo Nilsson', 'candidate');
export const CLEO = person(
  'p2',
  'cleo.papadopoulou',
  'Cleo Papadopoulou-Wolfeschlegelsteinhausenbergerdorff',
  'recruiter',
);
export const HANAKO = person('p3', 'hanako', '山田 花子');
export const MOHAMMED = person('p4', 'mohammed', 'محمد العربي');
export const DANA = person('p5', 'dana', 'Dana');
export const PEOPLE = [BO, CLEO, HANAKO, MOHAMMED, DANA];

export function byId(id: string): PersonView {
  return PEOPLE.find((each) => each.id === id) ?? ME;
}
