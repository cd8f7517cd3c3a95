/**
 * The service worker: holds the session while the browser runs.
 *
 * Chromium may end it at any moment and starts it again for an event; an alarm every 30 s sees to
 * that. It keeps nothing that matters in memory, and each start has a boot id of its own, by which the
 * service tells a restart from a second copy.
 */

import { Keeper } from "./lib/keeper.js";

const ALARM = "look after the session";

// Shortest period that Chromium grants to a packed extension.
const PERIOD_MINUTES = 0.5;

const keeper = new Keeper();

chrome.runtime.onInstalled.addListener(() => keeper.look());
chrome.runtime.onStartup.addListener(() => keeper.look());
chrome.alarms.onAlarm.addListener(() => keeper.look());
chrome.storage.onChanged.addListener((changes, area) => {
  if (area === "local") keeper.look({ isChanged: true });
});
chrome.runtime.onMessage.addListener((message) => {
  if (message === "try now") keeper.look({ isUrgent: true });
});
self.addEventListener("online", () => keeper.look({ isUrgent: true }));

// Alarms may be lost with a restart of the browser.
chrome.alarms.get(ALARM).then((alarm) => {
  if (!alarm) chrome.alarms.create(ALARM, { periodInMinutes: PERIOD_MINUTES });
});
keeper.look();
