/**
 * Looks over everything that is drawn and says what does not belong there: an element, an attribute or an address that
 * the interface never makes by itself. Whatever people write is text, so none of these can come of it.
 *
 * It names nothing outside of itself: it also runs in a browser and in the real window.
 */
export function judge(root) {
  const ELEMENTS =
    'html head meta title link script style body main section article header footer nav aside div span p h1 h2 h3 button input textarea ' +
    'form label select option fieldset legend ul ol li dl dt dd pre code strong em b bdi a time mark kbd blockquote dialog details ' +
    'summary table thead tbody tr th td br';
  const IN_MESSAGES = 'div blockquote ul ol li pre strong em code a bdi';
  const SHAPES = 'svg path circle line polyline polygon rect ellipse';
  const ATTRIBUTES =
    'class id for dir lang start href title type name value placeholder rows maxlength minlength min max step autocomplete spellcheck ' +
    'disabled checked selected required readonly open role tabindex style autofocus inputmode pattern hidden novalidate scope';
  const NAMES =
    'testid id seq mine state order unread username emoji message kind action polling theme kept reason';
  const DRAWING =
    'xmlns width height viewBox fill stroke stroke-width stroke-linecap stroke-linejoin class d cx cy r x y x1 x2 y1 y2 rx ry points';
  const OF_PAGE = {
    meta: 'charset name content',
    link: 'rel href crossorigin',
    script: 'type src crossorigin',
  };
  const HTML = 'http://www.w3.org/1999/xhtml';
  const SVG = 'http://www.w3.org/2000/svg';
  const findings = [];
  const page = root.ownerDocument ?? root;
  const has = (list, name) => list.split(' ').includes(name);

  function described({ localName, attributes }) {
    return `<${localName} ${[...attributes].map(({ name, value }) => `${name}="${value}"`).join(' ')}`.slice(
      0,
      160,
    );
  }

  function attributeIsKnown(element, name, value) {
    const tag = element.localName;
    if (name.startsWith('aria-')) return /^aria-[a-z]+$/.test(name);
    if (name.startsWith('data-')) return has(NAMES, name.slice(5));
    if (element.namespaceURI === SVG) return has(DRAWING, name);
    if (tag in OF_PAGE && has(OF_PAGE[tag], name)) {
      // What the page is made of comes from where the page comes from.
      return (name !== 'src' && name !== 'href') || /^\.?\/(?!\/)/.test(value);
    }
    if (!has(ATTRIBUTES, name)) return false;
    if (name === 'href') return tag === 'a' && /^(https?:\/\/|mailto:|kith:\/\/)/.test(value);
    if (name === 'style')
      return /^(\s*(height|width|left|top|right|bottom|max-height): -?[\d.]+(px|%);?)*\s*$|^height: auto;$/.test(
        value,
      );
    if (name === 'class') return /^[\w\s-]*$/.test(value);
    return true;
  }

  function look(element) {
    const tag = element.localName;
    const where = described(element);
    const inMessage = element.parentElement?.closest('[data-testid=message-text]');
    if (element.namespaceURI === SVG) {
      if (!has(SHAPES, tag) || !element.closest('svg.lucide')) findings.push(`element ${tag}: ${where}`);
    } else if (element.namespaceURI !== HTML || !has(inMessage ? IN_MESSAGES : ELEMENTS, tag)) {
      findings.push(`element ${tag}: ${where}`);
    } else if ((tag in OF_PAGE || tag === 'style') && element.parentElement !== page.head) {
      findings.push(`${tag} outside of the head: ${where}`);
    } else if (tag === 'script' && element.textContent !== '') {
      findings.push(`a script with a text: ${where}`);
    }
    if (element.shadowRoot) findings.push(`a shadow root: ${where}`);
    for (const { name, value } of element.attributes) {
      if (!attributeIsKnown(element, name, value)) findings.push(`attribute ${name} of ${where}`);
    }
  }

  const walker = page.createTreeWalker(root, 128 /* comments */);
  while (walker.nextNode()) {
    const { data } = walker.currentNode;
    if (data !== '') findings.push(`a comment: ${data.slice(0, 80)}`);
  }
  for (const element of root.querySelectorAll('*')) look(element);
  return findings;
}
