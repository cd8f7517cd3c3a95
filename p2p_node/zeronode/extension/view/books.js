/** One's own entries, and what came out of checking them. */

import { at, make } from "../lib/dom.js";
import { POINTS } from "../lib/ledger.js";
import { formatCount, formatMoment, formatPoints } from "../lib/format.js";

const NAMES = {
  uptime: "Uptime",
  nft: "Uptime, doubled by the NFT",
  referral: "Invitations",
  "check-in": "Check-in",
  mission: "Mission",
  campaign: "Campaign",
  burn: "Points burnt for tickets",
  draw: "Draw",
};

/** @param {import("../lib/ledger.js").Entry[]} entries newest first @param {string} account */
export function showEntries(entries, account) {
  const items = entries.map((entry) => {
    const amounts = entry.lines
      .filter((line) => line.account === account)
      .map((line) => formatAmount(line));
    return make(
      "li",
      {},
      make(
        "div",
        { class: "what" },
        make("b", {}, NAMES[entry.kind] ?? entry.kind),
        make("span", { class: "muted" }, `No. ${entry.number}, ${formatMoment(entry.at_ms)}`),
      ),
      make("span", { class: "amount" }, amounts.join(", ")),
    );
  });
  at("entries").replaceChildren(
    ...(items.length ? items : [make("li", {}, "No entries yet. Uptime is booked after each day.")]),
  );
}

function formatAmount({ unit, amount }) {
  const sign = amount > 0 ? "+" : "−";
  const size = Math.abs(amount);
  return unit === POINTS
    ? `${sign}${formatPoints(size)} points`
    : `${sign}${formatCount(size, "ticket")}`;
}

/**
 * @param {import("../lib/audit.js").Finding[]} findings
 */
export function showFindings(findings) {
  const bad = findings.filter((finding) => finding.state === "bad").length;
  at("check-result").replaceChildren(
    make("p", {}, make("strong", {}, bad ? "Something does not add up" : "Everything adds up")),
    make(
      "ul",
      { class: "checks" },
      ...findings.map(({ state, text }) =>
        make(
          "li",
          { class: state },
          make("span", { class: "hidden" }, { good: "Holds: ", bad: "Fails: ", open: "Open: " }[state]),
          text,
        ),
      ),
    ),
  );
}
