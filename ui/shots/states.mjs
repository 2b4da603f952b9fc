// What is looked at: a name, the twin's options, and the steps that lead there.

const composer = (page) => page.getByTestId('composer-input');
const seen = (page, id) => page.getByTestId(id).first().waitFor();
const press = (page, key) => page.keyboard.press(key);

async function open(page, id) {
  await page.locator(`[data-testid=conversation-row][data-id=${id}]`).click();
  await seen(page, 'message');
}

/** Texts that reach beyond their own place if they are let: towers, turns, joins, long words, doubtful links. */
const WILD = [
  `tower ${'e\u0301\u0323\u0308'.repeat(120)}`,
  'a plain line between',
  '\u202e\u202e never closed \u202b\u2067',
  'a plain line after it',
  'W'.repeat(400),
  `${'👨‍👩‍👧‍👦'.repeat(30)} flags`,
  '\u200b',
  '[https://bank.example](https://evil.example/) https://\u0430\u0440\u0440\u04cf\u0435.com/ https://example.org/\u202egpj.exe',
  `H${'\u0336\u0489\u20dd'.repeat(40)} struck`,
  '\u202eevil.example/\u202cbank.example <img src=x onerror=alert(1)> {@html x}',
  '```\n</pre><script>alert(1)</script>\n```\n> <b>quoted</b>\n- \u202eone\n- two',
];

async function wild(page, at) {
  await open(page, 'c5');
  await page.evaluate((texts) => texts.forEach((text) => window.fake.receive('c5', text)), WILD.slice(at));
  await page.getByText('two', { exact: true }).last().scrollIntoViewIfNeeded();
}

async function writeOffline(page) {
  await open(page, 'c1');
  await composer(page).fill('Written on the train');
  await press(page, 'Enter');
  await page.evaluate(() => window.fake.refuse('c1', 'Not for everybody', 'not_allowed'));
  await page.locator('[data-testid=unsent-button]:visible').waitFor();
}

async function update(page, view) {
  await seen(page, 'settings-button');
  await page.evaluate((view) => window.fake.updated(view), view);
  await page.getByTestId('settings-button').click();
  await page.getByTestId('update').scrollIntoViewIfNeeded();
}

export const STATES = [
  [
    'lock',
    'locked',
    async (page) => {
      await page.getByTestId('unlock-passphrase').fill('correct horse battery');
      await page.getByTestId('unlock-submit').click();
      await page.getByTestId('settings-button').click();
      await page.getByTestId('lock-after').scrollIntoViewIfNeeded();
    },
  ],
  [
    'update-offer',
    '',
    async (page) => {
      await open(page, 'c1');
      const view = { state: 'available', version: '0.2.0', notes: '' };
      await page.evaluate((view) => window.fake.updated(view), view);
    },
  ],
  [
    'update-available',
    '',
    (page) =>
      update(page, {
        state: 'available',
        version: '0.2.0',
        notes:
          '- Search is faster.\n- Drafts survive a full disk.\n- Longer notes wrap: ' + 'word '.repeat(60),
      }),
  ],
  [
    'update-failed',
    '',
    (page) => update(page, { state: 'failed', code: 'update_untrusted', version: '0.2.0' }),
  ],
  ['sign-in', 'signed-out'],
  [
    'sign-up',
    'signed-out',
    async (page) => {
      await page.getByTestId('signin-switch').click();
      await page.getByTestId('signin-submit').click();
      await seen(page, 'signin-error');
    },
  ],
  [
    'unlock',
    'locked',
    async (page) => {
      await page.getByTestId('unlock-passphrase').fill('not the passphrase');
      await page.getByTestId('unlock-submit').click();
      await seen(page, 'unlock-error');
    },
  ],
  ['forgot', 'locked', (page) => page.getByTestId('unlock-forgot').click()],
  ['offer', 'offer=no_store'],
  ['offer-lost', 'offer=key_missing'],
  [
    'offer-passphrase',
    'offer=passphrase_forgotten',
    async (page) => {
      await page.getByTestId('offer-passphrase').click();
      await page.getByTestId('passphrase-new').fill('correct horse battery');
      await page.getByTestId('passphrase-submit').click();
      await seen(page, 'passphrase-error');
    },
  ],
  [
    'passphrase',
    '',
    async (page) => {
      await page.getByTestId('settings-button').click();
      await page.getByTestId('set-passphrase').click();
      await page.getByTestId('passphrase-submit').click();
      await seen(page, 'passphrase-error');
    },
  ],
  ['empty', 'empty'],
  ['list', ''],
  ['chat', '', (page) => open(page, 'c1')],
  ['group', '', (page) => open(page, 'c5')],
  [
    'markup',
    '',
    async (page) => {
      await open(page, 'c5');
      await composer(page).fill(
        '**Yes**, _on_ `Tuesday`, see [this](https://example.org):\n1. one\n2. two\n> or three',
      );
      await press(page, 'Enter');
      await page.locator('blockquote').first().scrollIntoViewIfNeeded();
    },
  ],
  ['hostile', '', (page) => wild(page, 0)],
  ['hostile-end', '', (page) => wild(page, 6)],
  ['hostile-list', 'hostile', (page) => page.locator('[data-id=hostile-2]').first().scrollIntoViewIfNeeded()],
  [
    'hostile-towers',
    'hostile',
    async (page) => {
      await page.locator('[data-testid=conversation-row][data-id=hostile-193]').click();
      await page.getByTestId('message').first().scrollIntoViewIfNeeded();
    },
  ],
  [
    'doubtful-link',
    '',
    async (page) => {
      await wild(page, 7);
      await page.locator('a[href^="https://xn--"]').click();
      await seen(page, 'doubtful-host');
    },
  ],
  ['long-name', '', (page) => open(page, 'c2')],
  [
    'lost',
    '',
    async (page) => {
      await open(page, 'c5');
      await page.evaluate(() => window.fake.lose('c5', 2));
      await page.locator('.message.lost').first().waitFor();
    },
  ],
  ['rtl', '', (page) => open(page, 'c4')],
  [
    'scrolled',
    '',
    async (page) => {
      await open(page, 'c1');
      await page.getByTestId('timeline').hover();
      await page.mouse.wheel(0, -500);
      await seen(page, 'jump-to-bottom');
    },
  ],
  [
    'draft-conflict',
    '',
    async (page) => {
      await open(page, 'c5');
      await page.evaluate(() =>
        window.fake.clash('c5', 'I will bring the drawings, the projector and the list of all candidates'),
      );
      await seen(page, 'draft-conflict');
    },
  ],
  ['offline', 'offline', writeOffline],
  [
    'unsent',
    'offline',
    async (page) => {
      await writeOffline(page);
      await page.locator('[data-testid=unsent-button]:visible').click();
      await seen(page, 'unsent-item');
    },
  ],
  [
    'menu',
    '',
    async (page) => {
      await open(page, 'c1');
      await page.getByTestId('message').last().click({ button: 'right' });
    },
  ],
  [
    'list-menu',
    '',
    async (page) => {
      await page.getByTestId('conversation-row').nth(1).click({ button: 'right' });
    },
  ],
  [
    'delete',
    '',
    async (page) => {
      await open(page, 'c1');
      await page.locator('[data-testid=message][data-mine=true]').last().click({ button: 'right' });
      await page.locator('[data-action=delete]').click();
      await seen(page, 'delete-confirm');
    },
  ],
  [
    'emoji',
    '',
    async (page) => {
      await open(page, 'c1');
      await page.getByRole('button', { name: 'Insert an emoji' }).click();
    },
  ],
  [
    'search',
    '',
    async (page) => {
      await page.getByTestId('search-input').fill('tuesday');
      await seen(page, 'search-hit');
    },
  ],
  [
    'switcher',
    '',
    async (page) => {
      await seen(page, 'conversation-row');
      await press(page, 'Control+k');
      await page.getByTestId('switcher-input').fill('n');
      await page.locator('[data-testid=switcher-item][data-kind=person]').first().waitFor();
    },
  ],
  [
    'shortcuts',
    '',
    async (page) => {
      await seen(page, 'conversation-row');
      await press(page, '?');
    },
  ],
  ['settings', '', (page) => page.getByTestId('settings-button').click()],
  [
    'new-device',
    '',
    async (page) => {
      await open(page, 'c1');
      const name = 'Windows computer of somebody with a name that needs a second line';
      await page.evaluate((name) => {
        const problem = (is_copy) => ({ type: 'problem', problem: { kind: 'new_device', name, is_copy } });
        window.fake.tell(problem(false), problem(true));
      }, name);
      await page.getByTestId('toast').nth(1).waitFor();
    },
  ],
  [
    'rebuilding',
    'offline',
    async (page) => {
      await writeOffline(page);
      await page.evaluate(() => window.fake.setRebuilding(37));
      await page.locator('[data-testid=rebuilding]:visible').waitFor();
    },
  ],
  [
    'context',
    '',
    async (page) => {
      const context = { kind: 'job', id: '7', title: 'Senior engineer for distributed systems, Prague' };
      await page.evaluate((context) => window.fake.alter('c2', { context }), context);
      await open(page, 'c2');
      await seen(page, 'header-context');
    },
  ],
  [
    'context-short',
    '',
    async (page) => {
      await page.evaluate(() => window.fake.alter('c1', { context: { kind: 'job', id: '7' } }));
      await open(page, 'c1');
      await seen(page, 'header-context');
    },
  ],
  [
    'context-first-message',
    '',
    async (page) => {
      await seen(page, 'settings-button');
      const context = { kind: 'application', id: '0192f3a0-7c1e-7000-8000-0000000a11ce-'.repeat(3) };
      await page.evaluate((context) => window.fake.follow({ kind: 'start', with: 'dana', context }), context);
      await seen(page, 'new-chat-about');
    },
  ],
  ['namesakes', 'namesakes', (page) => open(page, 'c8')],
  ['namesakes-header', 'namesakes', (page) => open(page, 'c6')],
  ['namesakes-header-long', 'namesakes', (page) => open(page, 'c7')],
  [
    'namesakes-search',
    'namesakes',
    async (page) => {
      await page.getByTestId('search-input').fill('am');
      await seen(page, 'search-hit');
    },
  ],
  [
    'limits',
    'offline',
    async (page) => {
      await seen(page, 'settings-button');
      await page.evaluate(() => {
        for (const [what, code] of [
          ['reaction', 'too_large'],
          ['pin', 'too_large'],
          ['member', 'too_large'],
          ['message', 'too_old'],
          ['edit', 'target_missing'],
        ])
          window.fake.park('c5', what, code);
      });
      await page.locator('[data-testid=unsent-button]:visible').click();
      await seen(page, 'unsent-item');
    },
  ],
  [
    'diagnostics',
    '',
    async (page) => {
      await page.getByTestId('settings-button').click();
      await page.getByText('Numbers').click();
      await page.getByTestId('diagnostics').scrollIntoViewIfNeeded();
    },
  ],
  [
    'settings-end',
    '',
    async (page) => {
      await page.getByTestId('settings-button').click();
      await page.getByTestId('sign-out-button').scrollIntoViewIfNeeded();
    },
  ],
  [
    'sign-out',
    '',
    async (page) => {
      await page.getByTestId('settings-button').click();
      await page.getByTestId('sign-out-button').click();
      await seen(page, 'sign-out-confirm');
    },
  ],
  [
    'details',
    '',
    async (page) => {
      await open(page, 'c5');
      await page.getByTestId('details-button').click();
      await page.getByTestId('add-people').click();
      await page.getByTestId('group-query').fill('');
      await page.locator('[data-testid=person-row][aria-pressed]').first().waitFor();
    },
  ],
  [
    'leave-and-block',
    '',
    async (page) => {
      await open(page, 'c5');
      await page.getByTestId('details-button').click();
      await page.getByRole('button', { name: 'Leave…' }).click();
      await page.getByLabel('Person to block').selectOption({ index: 2 });
      await page.getByTestId('leave-group').scrollIntoViewIfNeeded();
    },
  ],
  [
    'block',
    '',
    async (page) => {
      await open(page, 'c2');
      await page.getByTestId('details-button').click();
      await page.getByRole('button', { name: /^Block/ }).click();
    },
  ],
  [
    'block-offline',
    '',
    async (page) => {
      await open(page, 'c2');
      await page.evaluate(() => window.fake.online(false));
      await page.getByTestId('details-button').click();
      await page.getByRole('button', { name: /^Block/ }).click();
      await page
        .getByRole('button', { name: /^Block/ })
        .last()
        .click();
      await page.getByRole('alert').waitFor();
    },
  ],
  [
    'blocked',
    '',
    async (page) => {
      await open(page, 'c2');
      await page.evaluate(() => window.fake.block('p2'));
      await page.evaluate(() => window.fake.online(false));
      await page.evaluate(() => window.fake.online(true));
      await page.getByTestId('details-button').click();
      await page.keyboard.press('Escape');
      await seen(page, 'blocked-note');
    },
  ],
  [
    'blocked-people',
    '',
    async (page) => {
      await seen(page, 'settings-button');
      await page.evaluate(() => Promise.all(['p1', 'p2', 'p3', 'p4'].map((id) => window.fake.block(id))));
      await page.getByTestId('settings-button').click();
      await page
        .getByRole('button', { name: /^Unblock/ })
        .first()
        .waitFor();
      await page.getByTestId('blocked-people').scrollIntoViewIfNeeded();
    },
  ],
  [
    'blocked-nobody',
    '',
    async (page) => {
      await page.getByTestId('settings-button').click();
      await page.getByTestId('blocked-people').scrollIntoViewIfNeeded();
    },
  ],
  [
    'new-chat',
    '',
    async (page) => {
      await page.getByTestId('new-chat-button').click();
      await seen(page, 'person-row');
    },
  ],
  [
    'first-message',
    '',
    async (page) => {
      await page.getByTestId('new-chat-button').click();
      await page.locator('[data-testid=person-row][data-username=dana]').click();
      await page.getByTestId('first-message').fill('Hello Dana');
    },
  ],
  [
    'new-group',
    '',
    async (page) => {
      await page.getByTestId('new-group-button').click();
      await page.getByTestId('person-row').nth(1).click();
      await page.getByTestId('person-row').nth(0).click();
    },
  ],
];
