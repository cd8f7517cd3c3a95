/** Invitations, missions, burning, draws, NFT. */

import { at, make, say, show } from "../lib/dom.js";
import { formatCount, formatMoment, formatPoints, formatSeconds } from "../lib/format.js";

const PERIODS = { daily: "Every day", weekly: "Every week", once: "Once" };

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
  const why = referral.waiting_reason ? ` (${referral.waiting_reason})` : "";
  say("gate-left", `${formatSeconds(left)} left until you and your host get a ticket each${why}`);
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
 * @param {object[]} missions of GET /v1/missions @param {(mission: object, code: string) => void} claim
 */
export function showMissions(missions, claim) {
  const list = at("missions");
  const shown = JSON.stringify(missions);
  // Building it anew would take the focus from whoever is in it.
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  const items = missions.map((mission) => missionItem(mission, claim));
  list.replaceChildren(...(items.length ? items : [make("li", {}, "None at the moment.")]));
}

function missionItem(mission, claim) {
  const what = make(
    "div",
    { class: "what" },
    make("b", {}, mission.title),
    make("span", { class: "muted" }, describeMission(mission)),
  );
  if (mission.own.is_claimed) {
    return make("li", {}, what, make("span", { class: "amount" }, "Done ✓"));
  }
  const needsWord = mission.measure === "code";
  const form = make("form", { class: needsWord ? "claim joined with-code" : "claim" });
  const word = make("input", {
    "aria-label": `Word for ${mission.title}`,
    placeholder: "Word",
    autocomplete: "off",
    maxlength: "64",
    required: "",
  });
  if (needsWord) form.append(word);
  const button = make("button", { type: "submit", "aria-label": `Claim ${mission.title}` }, "Claim");
  button.disabled = !mission.own.is_met && !needsWord;
  form.append(button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    claim(mission, needsWord ? word.value.trim() : "");
  });
  return make("li", {}, what, form);
}

function describeMission(mission) {
  const rewards = [];
  if (mission.units) rewards.push(`${formatPoints(mission.units)} points`);
  if (mission.tickets) rewards.push(formatCount(mission.tickets, "ticket"));
  const facts = [PERIODS[mission.period], rewards.join(" and "), describeProgress(mission)];
  return [mission.summary, facts.filter(Boolean).join(" · ")].filter(Boolean).join(" ");
}

function describeProgress({ measure, least, own }) {
  if (measure.endsWith("_s")) {
    return `${formatSeconds(Math.min(own.reached, least))} of ${formatSeconds(least)}`;
  }
  return least > 1 ? `${Math.min(own.reached, least)} of ${least}` : "";
}

/** @param {object|undefined} open the draw that takes tickets @param {object} standing */
export function showDraw(open, standing) {
  show("draw-form", Boolean(open));
  if (!open) {
    const next = standing.next_draw;
    return say("draw-text", next ? `Closes ${formatMoment(next.closes_ms)}.` : "None is open.");
  }
  const field = at("draw-count");
  field.max = String(Math.max(1, standing.tickets));
  field.disabled = standing.tickets < 1;
  at("draw-enter").disabled = standing.tickets < 1;
  const mine = open.entered ? ` You are in with ${formatCount(open.entered, "ticket")}.` : "";
  return say(
    "draw-text",
    `${open.title ?? open.id} closes ${formatMoment(open.closes_ms)}.${mine} You have ${formatCount(standing.tickets, "ticket")}.`,
  );
}
