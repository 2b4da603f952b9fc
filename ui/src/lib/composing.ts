/** Keys that belong to an input method. */

/** Keys that fields act on. */
const ACTING = ['Enter', 'NumpadEnter', 'Escape', 'Tab', 'ArrowUp', 'ArrowDown'];
/** What a browser calls a key that an input method has taken. */
const TAKEN = 229;

/**
 * Whether a key ends or steers a composition, and so means nothing to a field. WebKit ends the composition before it tells
 * of the key: `isComposing` is false then, and only the key's number says whose it was.
 */
export function isOfInputMethod(event: KeyboardEvent): boolean {
  const isActing = ACTING.includes(event.key) || ACTING.includes(event.code);
  return isActing && (event.isComposing || event.keyCode === TAKEN);
}
