/** The badge on the icon: colour for a glance, letters for who sees no colour. */

const BADGES = {
  green: { text: "on", color: "#0a7a45" },
  amber: { text: "…", color: "#8f5300" },
  grey: { text: "off", color: "#55606c" },
};

/** @type {Object<string, {tone: "green"|"amber"|"grey", title: string}>} */
export const STATES = {
  earning: { tone: "green", title: "Earning" },
  idle: { tone: "amber", title: "Connected, not earning" },
  connecting: { tone: "amber", title: "Connecting" },
  offline: { tone: "amber", title: "Not connected" },
  stopped: { tone: "grey", title: "Stopped" },
  paused: { tone: "grey", title: "Paused" },
  "signed-out": { tone: "grey", title: "Not signed in" },
};

/** @param {import("./settings.js").Status} status */
export async function showBadge(status) {
  const { tone, title } = STATES[status.state];
  const { text, color } = BADGES[tone];
  await Promise.all([
    chrome.action.setBadgeText({ text }),
    chrome.action.setBadgeBackgroundColor({ color }),
    chrome.action.setBadgeTextColor({ color: "#ffffff" }),
    chrome.action.setTitle({
      title: `ZeroNode: ${title}${status.reason ? ` (${status.reason})` : ""}`,
    }),
  ]);
}
