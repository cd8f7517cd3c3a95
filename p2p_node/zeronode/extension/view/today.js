/** Uptime, points and check-in of the day. */

import { at, draw, make, say } from "../lib/dom.js";
import {
  formatClock,
  formatCount,
  formatCountdown,
  formatPoints,
  formatSeconds,
} from "../lib/format.js";

const BAR_WIDTH = 1440;
const BAR_HEIGHT = 40;
const DAYS_IN_A_ROW = 7;

/** @param {object} standing what GET /v1/account says @param {object} about GET /v1/service */
export function showToday(standing, about) {
  const dayMs = about.rules.day_ms;
  say("uptime-today", formatSeconds(standing.uptime_today_s));
  showBar(standing, dayMs);
  say("points-today", formatPoints(standing.today_units));
  say("points-total", formatPoints(standing.points_units));
  say(
    "points-pending",
    standing.pending_units
      ? `in the ledger; ${formatPoints(standing.pending_units)} of yesterday are being booked`
      : "in the ledger",
  );
  say("multiplier", `×${standing.multiplier}`);
  say("multiplier-why", describeMultiplier(standing));
  say("tickets", standing.tickets.toLocaleString("en"));
  showWeek(standing.streak, about.rules.check_in_points);
}

/** What changes with every second. @param {number} nowMs by the service's clock */
export function showCountdowns(standing, nowMs, offsetMs) {
  const { streak, day_ends_ms: endsMs, next_draw: drawn } = standing;
  const leftMs = endsMs - nowMs;
  say("day-ends", `ends in ${formatCountdown(leftMs)}`);
  const left = formatCountdown(leftMs);
  const clock = formatClock(endsMs - offsetMs);
  if (streak.checked_in) {
    say("streak-reset", `Next check-in in ${left}, from ${clock} your time (midnight UTC) on.`);
  } else if (streak.days) {
    say("streak-reset", `The row ends in ${left}, at ${clock} your time (midnight UTC).`);
  } else {
    say("streak-reset", `Time left: ${left}, until ${clock} your time (midnight UTC).`);
  }
  say("tickets-draw", drawn ? `draw in ${formatCountdown(drawn.closes_ms - nowMs)}` : "");
}

function showBar(standing, dayMs) {
  const startsMs = standing.day_ends_ms - dayMs;
  const place = (ms) =>
    Math.min(BAR_WIDTH, Math.max(0, ((ms - startsMs) / dayMs) * BAR_WIDTH)).toFixed(2);
  const pieces = standing.segments_today.map(([from, to]) =>
    draw("rect", {
      class: "online",
      x: place(from),
      // A short stretch still shows as a line.
      width: String(Math.max(2, place(to) - place(from))),
      height: String(BAR_HEIGHT),
    }),
  );
  const now = place(standing.now_ms);
  at("day-bar").replaceChildren(
    draw("rect", { class: "track", width: String(BAR_WIDTH), height: String(BAR_HEIGHT) }),
    ...pieces,
    draw("rect", { class: "now", x: now, width: "3", height: String(BAR_HEIGHT) }),
  );
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => formatClock(startsMs + part * dayMs));
  at("day-scale").replaceChildren(...marks.map((mark) => make("span", {}, mark)));
  say("day-bar-text", describeBar(standing));
}

function describeBar({ segments_today: segments, uptime_today_s: seconds }) {
  if (!segments.length) return "Not online yet on this day (UTC, shown in your time).";
  const stretches = formatCount(segments.length, "stretch").replace("stretchs", "stretches");
  const last = segments.at(-1)[1];
  return `${formatSeconds(seconds)} in ${stretches}, last until ${formatClock(last)}. Day in UTC, shown in your time.`;
}

function describeMultiplier({ multiplier, nft }) {
  if (nft.token === null) return "no NFT linked";
  return multiplier === 2 ? `NFT #${nft.token}` : `NFT #${nft.token}: ${nft.state}`;
}

/** The seven days of check-in: those done, the next, and what each gives. */
function showWeek(streak, points) {
  const done = streak.checked_in
    ? ((streak.days - 1) % DAYS_IN_A_ROW) + 1
    : streak.days % DAYS_IN_A_ROW;
  const items = points.map((reward, index) => {
    const isDone = index < done;
    const isNext = index === done && !streak.checked_in;
    const state = isDone ? "done" : isNext ? "next" : "open";
    const label = { done: "checked in", next: "now", open: "to come" }[state];
    return make(
      "li",
      { class: state },
      make("b", {}, String(reward)),
      make("span", { class: "mark", "aria-hidden": "true" }, isDone ? "✓" : `day ${index + 1}`),
      make("span", { class: "hidden" }, ` points on day ${index + 1}: ${label}`),
    );
  });
  at("week").replaceChildren(...items);
  say("streak-days", `${formatCount(streak.days, "day")} in a row`);
  const button = at("check-in");
  button.disabled = streak.checked_in;
  button.textContent = streak.checked_in
    ? "Checked in today"
    : `Check in for ${formatPoints(streak.next_units)} points`;
}
