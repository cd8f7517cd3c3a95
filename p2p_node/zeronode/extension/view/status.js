/** The line at the top: how it stands, and why. */

import { STATES } from "../lib/badge.js";
import { at, say, show } from "../lib/dom.js";
import { formatAgo, formatSeconds } from "../lib/format.js";

/** Silence of the worker after which its last word no longer counts. */
const SILENCE_MS = 45_000;

/** Reasons of services that need more words than they have. */
const REASONS = {
  replaced: "another copy of this browser profile took over",
  "another session of this account earns":
    "another browser of your account earns; only one does at a time",
  "first beat": "connected; time counts from this beat on",
  "two copies": "two copies of this browser profile are at work; together they earn what one earns",
  unresponsive: "the service got no answer from this browser",
  late: "the last answer came too late",
};

/**
 * @param {import("../lib/settings.js").Status|undefined} status what the worker says
 * @param {{reason: string}|undefined} account what the service says of the account
 * @param {number} nowMs
 */
export function showStatus(status, account, nowMs) {
  const silentMs = status?.state === "earning" ? nowMs - status.saidMs : 0;
  const isSilent = silentMs > SILENCE_MS;
  const { tone, title } = STATES[!status || isSilent ? "connecting" : status.state];
  const silence = `No beat for ${formatSeconds(silentMs / 1000)}: time since then earns nothing.`;
  at("status").dataset.tone = tone;
  say("status-title", title);
  say("status-reason", isSilent ? silence : describe(status, account, nowMs));
  show("retry", isSilent || ["offline", "stopped"].includes(status?.state));
  // Read out what changes with an event, not what changes with every second.
  say("announcer", `${title}. ${sentence(status?.reason)}`);
}

function describe(status, account, nowMs) {
  if (!status) return "";
  const reason = sentence(status.reason || (account?.reason ?? ""));
  if (status.state === "earning") {
    return `Last paid beat ${formatAgo(nowMs - status.lastPaidMs)}. ${reason}`.trim();
  }
  const leftMs = status.retryAtMs - nowMs;
  if (status.state === "offline" && leftMs > 0) {
    return `${reason} Next attempt in ${formatSeconds(leftMs / 1000)}.`;
  }
  return reason;
}

function sentence(reason) {
  if (!reason) return "";
  const words = REASONS[reason] ?? reason;
  const text = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
