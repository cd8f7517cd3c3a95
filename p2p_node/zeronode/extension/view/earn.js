/** Invitations, burning, draws, NFT. */

import { at, make, say, show } from "../lib/dom.js";
import { formatCount, formatMoment, formatPoints, formatSeconds } from "../lib/format.js";

/** @param {object} standing what GET /v1/account says */
export function showEarn(standing, about) {
  showInvitation(standing.referral, about.rules);
  showBurning(standing, about.rules.ticket_units);
  showNft(standing);
}

function showInvitation(referral, rules) {
  const link = at("referral-link");
  if (link.value !== referral.link) link.value = referral.link;
  say("gate-text", describeGate(rules.gate_ms));
  say(
    "invited",
    referral.invited
      ? `${formatCount(referral.invited, "guest")}, ${referral.invited_gated} of them past the ${describeGate(rules.gate_ms)}`
      : "Nobody has used it yet.",
  );
  // Only who was invited has something to wait for.
  show("gate", referral.referred && !referral.gated);
  show("referral-form", !referral.referred);
  const left = Math.max(0, referral.gate_s - referral.run_s);
  const progress = at("gate-progress");
  progress.max = referral.gate_s;
  progress.value = Math.min(referral.run_s, referral.gate_s);
  say(
    "gate-left",
    left
      ? `${formatSeconds(left)} left until you and your host get a ticket each`
      : `Long enough. ${referral.waiting_reason}`,
  );
}

function describeGate(gateMs) {
  return gateMs % 3_600_000 ? formatSeconds(gateMs / 1000) : `${gateMs / 3_600_000} hours`;
}

function showBurning(standing, ticketUnits) {
  const most = Math.floor(standing.points_units / ticketUnits);
  const field = at("burn-count");
  field.max = String(Math.max(1, most));
  field.disabled = most < 1;
  at("burn").disabled = most < 1;
  const missing = ticketUnits - standing.points_units;
  say(
    "burn-text",
    most < 1
      ? `${formatPoints(missing)} points to go until the first.`
      : `Enough for ${formatCount(most, "ticket")}. Burnt points are gone for good.`,
  );
}

function showNft({ nft, multiplier }) {
  const isLinked = nft.token !== null;
  show("nft-form", !isLinked);
  show("nft-unlink", isLinked);
  if (!isLinked) return say("nft-text", "A Kaisar NFT in your wallet doubles what uptime earns.");
  const effect = multiplier === 2 ? "Uptime counts twice." : "";
  return say("nft-text", `Token #${nft.token}: ${nft.state}. ${effect}`.trim());
}

/**
 * @param {object|undefined} open the draw that takes tickets now, as GET /v1/draws/{id} shows it
 * @param {object|undefined} last the last one that is done
 * @param {object} standing @param {string} origin of the service
 */
export function showDraw(open, last, standing, origin) {
  show("draw-form", Boolean(open));
  say("draw-text", open ? describeDraw(open, standing) : "None is open at the moment.");
  at("draw-prizes").replaceChildren(
    ...(open?.prizes ?? []).map(({ name, ppm }) =>
      make("li", {}, make("span", {}, name), make("span", { class: "amount" }, `${ppm / 10_000} %`)),
    ),
  );
  show("draw-last", Boolean(last));
  if (last) {
    say("draw-last-id", last.id);
    at("draw-transcript").href = `${origin}/v1/draws/${last.id}/transcript`;
  }
  const field = at("draw-count");
  field.max = String(Math.max(1, standing.tickets));
  field.disabled = standing.tickets < 1;
  at("draw-enter").disabled = standing.tickets < 1;
}

function describeDraw({ summary, closes_ms: closesMs, own }, { tickets }) {
  const mine = (own ?? []).reduce((total, entry) => total + entry.tickets, 0);
  const entered = mine ? `You are in with ${formatCount(mine, "ticket")}; ` : "";
  const held = `you hold ${formatCount(tickets, "ticket")}.`;
  const closing = `Closes ${formatMoment(closesMs)}.`;
  return [summary, closing, mine ? entered + held : held[0].toUpperCase() + held.slice(1)].join(" ");
}
