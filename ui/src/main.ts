import { mount } from 'svelte';
import Root from './Root.svelte';
import { connect, type KeyOffer, type Shell } from './lib/ipc/engine';
import './styles/tokens.css';
import './styles/base.css';

/** `?fake&offer=no_store`, or another reason: after a sign-in that nothing keeps. */
function offerOf(reason: string | null): KeyOffer | undefined {
  if (!reason) return undefined;
  const has_history = reason !== 'no_store';
  const secret_store_usable = reason === 'key_missing';
  const unsent = has_history ? 3 : null;
  return { reason: reason as KeyOffer['reason'], has_history, unsent, secret_store_usable };
}

/**
 * In development a browser can show the interface without the app: `?fake`, `?fake&empty`, `?fake&signed-out`, `?fake&locked`,
 * `?fake&offer=no_store`, `?fake&hostile`, `?fake&namesakes`. There
 * `window.fake` is the twin itself, to let others write, type and refuse.
 */
async function shell(): Promise<Shell> {
  if (import.meta.env.DEV) {
    const query = new URLSearchParams(location.search);
    if (query.has('fake')) {
      const [{ createFake }, { addNamesakes }, { haunt, hauntAnswers }] = await Promise.all([
        import('./lib/ipc/fake'),
        import('./lib/ipc/fake/namesakes'),
        import('./hostile'),
      ]);
      const fake = createFake({
        signedIn: !query.has('signed-out'),
        empty: query.has('empty'),
        history: Number(query.get('history') ?? 120),
        ...(query.has('hostile') ? { fill: haunt } : {}),
        ...(query.has('namesakes') ? { fill: addNamesakes } : {}),
        locked: query.has('locked'),
        offer: offerOf(query.get('offer')),
      });
      if (query.has('hostile')) hauntAnswers(fake);
      if (query.has('offline')) fake.online(false);
      Object.assign(window, { fake });
      return fake;
    }
  }
  return connect();
}

const target = document.getElementById('app');
if (target) mount(Root, { target, props: { shell: await shell() } });
