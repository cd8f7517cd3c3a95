/** Tabs as the ARIA practices describe them: one stop of the Tab key, arrows move between them. */

import { at } from "./lib/dom.js";

/** @param {(panel: string) => void} onOpen */
export function bindTabs(onOpen) {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const open = (tab) => {
    for (const other of tabs) {
      const isOpen = other === tab;
      other.setAttribute("aria-selected", String(isOpen));
      other.tabIndex = isOpen ? 0 : -1;
      at(other.getAttribute("aria-controls")).hidden = !isOpen;
    }
    onOpen(tab.getAttribute("aria-controls"));
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      const next = target(event.key, index, tabs.length);
      if (next === undefined) return;
      event.preventDefault();
      tabs[next].focus();
      open(tabs[next]);
    });
  }
}

function target(key, index, count) {
  return {
    ArrowRight: (index + 1) % count,
    ArrowLeft: (index + count - 1) % count,
    Home: 0,
    End: count - 1,
  }[key];
}
