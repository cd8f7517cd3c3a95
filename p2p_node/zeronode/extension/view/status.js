/** The line at the top: how it stands, and why. */

import { STATES } from "../lib/badge.js";
import { at, say, show } from "../lib/dom.js";
import { formatAgo, formatSeconds } from "../lib/format.js";

/** Silence of the worker after which its last word no longer counts. */
const SILENCE_MS = 45_000;

/** @param {import("../lib/settings.js").Status|undefined} status @param {number} nowMs */
export function showStatus(status, nowMs) {
  const silentMs = status?.state === "earning" ? nowMs - status.saidMs : 0;
  const isSilent = silentMs > SILENCE_MS;
  const { tone, title } = STATES[!status || isSilent ? "connecting" : status.state];
  const silence = `No beat for ${formatSeconds(silentMs / 1000)}: time since then earns nothing.`;
  at("status").dataset.tone = tone;
  say("status-title", title);
  say("status-reason", isSilent ? silence : describe(status, nowMs));
  show("retry", isSilent || ["offline", "stopped"].includes(status?.state));
  // Read out what changes with an event, not what changes with every second.
  say("announcer", `${title}. ${sentence(status?.reason)}`);
}

function describe(status, nowMs) {
  if (!status) return "";
  const reason = sentence(status.reason);
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
  const text = reason[0].toUpperCase() + reason.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
