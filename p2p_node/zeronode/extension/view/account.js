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
  if (!standing.home) facts.push(["Your books are kept by", standing.home_service]);
  listFacts("service-facts", facts);
  const field = at("service-address");
  if (document.activeElement !== field) field.value = settings.service;
}
