/** Small helpers for building pages without any markup in strings. */

/** @param {string} id @returns {HTMLElement} */
export function at(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Make an element.
 * @param {string} tag @param {Object<string, string>} [attributes]
 * @param {...(Node|string)} children
 */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Likewise of SVG. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** Set the text where it differs, so that a live region speaks only of news. */
export function say(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide. */
export function show(id, isShown) {
  at(id).hidden = !isShown;
}

/** Put rows `term: description` into a list of facts. */
export function listFacts(id, facts) {
  at(id).replaceChildren(
    ...facts.map(([term, text]) => make("div", {}, make("dt", {}, term), make("dd", {}, text))),
  );
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
