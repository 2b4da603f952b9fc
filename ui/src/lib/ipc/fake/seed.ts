/** What the twin's world holds at the start: scripts of several directions, long names, full and short histories. */
import type { PersonView } from '../engine';
import { BO, CLEO, DANA, HANAKO, ME, MOHAMMED } from './people';
import type { Row, World } from './world';

const LINES = [
  'Hello! Thank you for the invitation.',
  'Does Tuesday at 10:00 suit you?',
  'Here is the description: https://jobs.example.org/1234?ref=kith',
  'I have a question about the second part.\nIs it on site?',
  'Yes 👍',
  'こんにちは、明日の面接についてお知らせします。',
  'مرحبا، شكرا لك على الرسالة',
];
const STEP_MS = 3_500_000;

export function seed(world: World, history: number): void {
  const start = Date.now() - history * 3_600_000;

  function fill(row: Row, people: PersonView[], lines: number): Row {
    for (let seq = 1; seq <= lines; seq += 1) {
      const sender = seq % 3 === 0 ? ME : (people[seq % people.length] ?? ME);
      const text = `${LINES[seq % LINES.length]}`;
      row.items.push({ type: 'message', ...world.message(sender, text, seq, start + seq * STEP_MS) });
    }
    row.read = lines;
    row.view.is_local = false;
    return row;
  }
  const direct = (id: string, person: PersonView, lines: number) =>
    fill(world.add(id, person.display_name, [person], 'direct'), [person], lines);

  const first = direct('c1', BO, history);
  first.read = Math.max(0, history - 2);
  first.view.presence = { user: BO.id, state: 'online', last_seen: null };
  direct('c2', CLEO, 3);
  direct('c3', HANAKO, 6);
  direct('c4', MOHAMMED, 7);
  const team = [BO, CLEO, DANA];
  const group = fill(world.add('c5', 'Interview team', team, 'group'), team, 9);
  group.view.draft = 'I will bring the';
  group.items.push({
    type: 'notice',
    id: 'n1',
    order: 9.5,
    ts: Date.now(),
    actor: ME,
    what: { kind: 'member', user: DANA, change: 'added', role: 'member' },
  });
  const marked = group.items[6];
  if (marked?.type === 'message') {
    marked.text =
      '**Friday** works, _if_ the room does:\n> Is it on site?\n- the plan is [here](https://plans.example.org/7)\n- run `kith --help`\n```\nlet rooms = ["Ada", "Bo"].map(reserve_for_the_whole_morning_if_possible);\n```';
  }
  const newest = first.items.at(-1);
  if (newest?.type === 'message') {
    newest.reactions = [{ emoji: '👍', count: 2, people: [ME, BO], mine: true }];
    newest.reply_to = { id: 'm1', sender: ME, text: 'Does Tuesday at 10:00 suit you?', deleted: false };
  }
}
