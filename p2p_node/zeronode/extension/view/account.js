/** Location, service and account. */

import { at, listFacts, make, say, show } from "../lib/dom.js";
import { formatPosition } from "../lib/format.js";

/** @param {object} standing what GET /v1/account says @param {object} about GET /v1/service */
export function showAccount(standing, about, settings) {
  const { location } = standing;
  listFacts("location", [
    ["Country", location.country],
    ["Region", location.region],
    ["Network", location.network],
    ["Position", location.coarse ? formatPosition(location.coarse) : "not shared"],
    ...(location.mismatch ? [["Note", "position and network are far apart"]] : []),
  ]);
  at("coarse").setAttribute("aria-checked", String(Boolean(location.coarse)));
  show("coarse-delete", Boolean(location.coarse));
  say("wallet", standing.wallet);
  const code = make("code", { class: "print" }, about.service);
  const facts = [
    ["Key of the service", code],
    ["Network", make("code", { class: "print" }, about.network)],
  ];
  if (!standing.home) {
    const home = make("code", { class: "print" }, standing.home_service);
    facts.push(["Your books are kept by", home]);
  }
  listFacts("service-facts", facts);
  const field = at("service-address");
  if (document.activeElement !== field) field.value = settings.service;
}

/**
 * @param {{service: string, url: string}[]} services of GET /v1/services
 * @param {object} about GET /v1/service @param {object|null} moving a departure under way
 */
export function showServices(services, about, moving) {
  const others = services.filter(({ service }) => service !== about.service);
  show("move-form", others.length > 0 && !moving);
  const text = others.length
    ? "Points, tickets, streak, invitations and keys go with you. You sign in there once."
    : "This network has no other service.";
  say("move-text", moving ? `On the way to ${shorten(moving.to)}: sign in there.` : text);
  const list = at("move-to");
  const chosen = list.value;
  list.replaceChildren(
    ...others.map(({ service, url }) =>
      make("option", { value: service }, url || `with the key ${shorten(service)}`),
    ),
  );
  if (others.some(({ service }) => service === chosen)) list.value = chosen;
}

function shorten(key) {
  return `${key.slice(0, 8)}…${key.slice(-8)}`;
}
