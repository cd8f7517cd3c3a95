/** What people can do in the popup. Each action says on the page what came of it. */

import { checkBooks, fetchBooks } from "./lib/audit.js";
import { toHex } from "./lib/bytes.js";
import { at, make, say } from "./lib/dom.js";
import { formatCount, formatPoints } from "./lib/format.js";
import { forgetKey } from "./lib/keys.js";
import { leave, turnTo } from "./lib/moving.js";
import { agree, peerOf, ServiceError, trust, visit } from "./lib/service.js";
import { InputError, readServiceAddress, SIGN_IN_MS, writeSettings } from "./lib/settings.js";
import { showFindings } from "./view/books.js";

/** Time in which a second press confirms the first. */
const CONFIRM_MS = 6_000;

const POSITION_MS = 30_000;

/** @param {import("./popup.js").Popup} popup */
export function bindActions(popup) {
  const once = (id, event, act) => bind(popup, id, event, act);
  const requests = new Requests();

  once("sign-in-form", "submit", () => signIn(popup));
  once("running", "click", () => writeSettings({ paused: !popup.settings.paused }));
  once("retry", "click", async () => {
    await chrome.runtime.sendMessage("try now");
    await popup.refresh();
  });
  once("trust", "click", async () => {
    await trust(popup.settings.service, popup.shown);
    await chrome.runtime.sendMessage("try now");
    await popup.refresh();
  });
  once("accept-wallet", "click", () => popup.acceptWallet());
  once("check-in", "click", async () => {
    const { units } = await popup.caller.call("POST", "/v1/account/check-in");
    await popup.refresh();
    popup.warn(`Checked in: ${formatPoints(units)} points.`, true);
  });
  once("copy-link", "click", async () => {
    await navigator.clipboard.writeText(at("referral-link").value);
    popup.warn("Link copied.", true);
  });
  once("referral-form", "submit", async () => {
    await popup.caller.call("POST", "/v1/account/referral", { code: at("referral-code").value.trim() });
    await popup.refresh();
  });
  confirmed("burn-form", "submit", popup, () => `Burn ${burnText(popup)}?`, async () => {
    const tickets = at("burn-count").valueAsNumber;
    await requests.send(`burn ${tickets}`, (request) =>
      popup.caller.call("POST", "/v1/account/burn", { tickets, request }),
    );
    await popup.refresh();
    popup.warn(`${formatCount(tickets, "ticket")} more.`, true);
  });
  once("draw-form", "submit", async () => {
    const tickets = at("draw-count").valueAsNumber;
    const { id } = popup.openDraw;
    await requests.send(`draw ${id} ${tickets}`, (request) =>
      popup.caller.call("POST", `/v1/draws/${id}/entries`, { tickets, request }),
    );
    await popup.refresh();
    await popup.openTab("earn");
    popup.warn(`You are in with ${formatCount(tickets, "ticket")} more.`, true);
  });
  once("nft-form", "submit", async () => {
    await popup.caller.call("PUT", "/v1/account/nft", { token: at("nft-token").value });
    await popup.refresh();
  });
  once("nft-unlink", "click", async () => {
    await popup.caller.call("DELETE", "/v1/account/nft");
    await popup.refresh();
  });
  once("check-ledger", "click", () => checkLedger(popup));
  once("coarse", "click", () =>
    popup.standing.location.coarse ? deletePosition(popup) : sharePosition(popup),
  );
  once("coarse-delete", "click", () => deletePosition(popup));
  once("service-form", "submit", () => changeService(popup));
  confirmed("move-form", "submit", popup, () => "Really move?", async () => {
    const service = await leave(popup.caller, at("move-to").value);
    if (service) at("welcome-service").value = service;
    await popup.refresh();
    if (!service) popup.warn("Now enter the new service's address above, and sign in there.", true);
  });
  confirmed("sign-out", "click", popup, () => "Really sign out?", () => signOut(popup));
}

/**
 * Claim a mission or a task of a campaign.
 * @param {import("./popup.js").Popup} popup @param {import("./view/tasks.js").Task} task
 * @param {string} word may be empty
 */
export async function claimTask(popup, task, word) {
  await popup.caller.call("POST", task.path, word ? { code: word } : {});
  await popup.refresh();
  await popup.openTab("earn");
  popup.warn(`${task.title}: done.`, true);
}

/** Do `act` on an event, one at a time, and show what went wrong. */
function bind(popup, id, event, act) {
  const element = at(id);
  element.addEventListener(event, async (happened) => {
    happened.preventDefault();
    if (element.ariaBusy === "true") return;
    element.ariaBusy = "true";
    try {
      await popup.attempt(act);
    } finally {
      element.ariaBusy = "false";
    }
  });
}

/** Likewise, but only a second press within a few seconds does it. */
function confirmed(id, event, popup, question, act) {
  const element = at(id);
  const button = element.matches("button") ? element : element.querySelector("button");
  const label = button.textContent;
  let timer = 0;
  const calm = () => {
    clearTimeout(timer);
    timer = 0;
    button.textContent = label;
  };
  bind(popup, id, event, async () => {
    if (timer) {
      calm();
      return act();
    }
    button.textContent = question();
    say("question", `${question()} Press again to confirm.`);
    timer = setTimeout(calm, CONFIRM_MS);
  });
}

function burnText(popup) {
  const units = at("burn-count").valueAsNumber * popup.about.rules.ticket_units;
  return `${formatPoints(units)} points`;
}

async function signIn(popup) {
  const service = readServiceAddress(at("welcome-service").value);
  const referral = at("welcome-referral").value.trim();
  // Its page may have another address than its API; what it names has to be as safe.
  const about = await visit(service);
  const { uri } = about.sign_in;
  readServiceAddress(new URL(uri).origin);
  const agreed = await agree(service, popup.key, peerOf(about));
  await writeSettings({ service, signingInUntil: Date.now() + SIGN_IN_MS });
  const fragment = new URLSearchParams({ key: popup.key.hex, ...agreed });
  if (referral) fragment.set("ref", referral);
  await chrome.tabs.create({ url: `${uri}#${fragment}` });
}

async function signOut(popup) {
  try {
    await popup.caller.call("DELETE", `/v1/account/keys/${popup.key.hex}`);
  } catch (error) {
    // Forgetting the key ends its use all the same: nobody can export it.
    if (!(error instanceof ServiceError)) throw error;
  }
  await forgetKey();
  await writeSettings({ joined: false, signingInUntil: 0, paused: false, wallet: "" });
  location.reload();
}

async function changeService(popup) {
  const service = readServiceAddress(at("service-address").value);
  if (service === popup.settings.service) return;
  at("welcome-service").value = service;
  await turnTo(service, popup.key);
}

async function sharePosition(popup) {
  if (!(await chrome.tabs.getCurrent())) {
    // The browser's question would close the popup.
    await chrome.tabs.create({ url: chrome.runtime.getURL("popup.html#settings") });
    return;
  }
  const { coords } = await new Promise((resolve, reject) => {
    navigator.geolocation.getCurrentPosition(resolve, reject, { timeout: POSITION_MS });
  }).catch((error) => {
    throw new InputError(`The browser gave no position: ${error.message}`);
  });
  await popup.caller.call("PUT", "/v1/account/location", {
    lat_tenths: Math.round(coords.latitude * 10),
    lon_tenths: Math.round(coords.longitude * 10),
  });
  await popup.refresh();
}

async function deletePosition(popup) {
  await popup.caller.call("DELETE", "/v1/account/location");
  await popup.refresh();
}

async function checkLedger(popup) {
  at("check-result").replaceChildren(make("p", {}, "Fetching and recomputing …"));
  try {
    const books = await fetchBooks(popup.caller);
    await popup.refresh();
    showFindings(await checkBooks(books, popup.standing, popup.caller.pin));
  } catch (error) {
    at("check-result").replaceChildren();
    throw error;
  }
}

/** Requests that must not be done twice keep their number until an answer has come. */
class Requests {
  #numbers = new Map();

  async send(what, act) {
    if (!this.#numbers.has(what)) {
      this.#numbers.set(what, toHex(crypto.getRandomValues(new Uint8Array(16))));
    }
    try {
      const answer = await act(this.#numbers.get(what));
      this.#numbers.delete(what);
      return answer;
    } catch (error) {
      if (error instanceof ServiceError && error.isRefusal) this.#numbers.delete(what);
      throw error;
    }
  }
}
