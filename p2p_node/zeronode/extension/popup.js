/** The popup, also as a page in a tab. It shows what worker and service say; it counts nothing. */

import { bindActions, claimTask } from "./actions.js";
import { at, say, show } from "./lib/dom.js";
import { formatClock } from "./lib/format.js";
import { fingerprint, loadKey } from "./lib/keys.js";
import { arrive } from "./lib/moving.js";
import { Caller, OtherServiceError, peerOf, ServiceError, visit } from "./lib/service.js";
import {
  forgetSeen,
  InputError,
  readSeen,
  readSettings,
  readStatus,
  writeSeen,
  writeSettings,
} from "./lib/settings.js";
import { bindTabs } from "./tabs.js";
import { showAccount, showServices } from "./view/account.js";
import { showEntries } from "./view/books.js";
import { showDraw, showEarn } from "./view/earn.js";
import { showStatus } from "./view/status.js";
import { showTasks } from "./view/tasks.js";
import { showCountdowns, showToday } from "./view/today.js";

/** Between two looks at the account, if no beat comes before. */
const REFRESH_MS = 15_000;

const NEWEST_ENTRIES = 20;

/** Stands for the service until it has answered. */
const NOBODY = Object.freeze({
  origin: "",
  call: async () => {
    throw new ServiceError("the service has not answered yet");
  },
});

/**
 * All that the page knows. `offsetMs` is what the service's clock is ahead of ours.
 * @typedef {{settings: import("./lib/settings.js").Settings, status: object, key: object,
 *   caller: Caller, about: object|null, standing: object|null, offsetMs: number}} Page
 */
export class Popup {
  constructor() {
    this.settings = null;
    this.status = undefined;
    this.key = null;
    this.caller = NOBODY;
    this.about = null;
    this.standing = null;
    this.offsetMs = 0;
    this.seenMs = 0;
    // True while the numbers shown are older than the last question.
    this.isStale = false;
    this.refreshing = null;
    this.openDraw = undefined;
    this.tab = "today";
    // Which tab of which service has been fetched.
    this.filled = "";
    this.shown = null;
  }

  async start() {
    // Before anything is read: what changes meanwhile must not be missed.
    const { promise: ready, resolve: settle } = Promise.withResolvers();
    chrome.storage.onChanged.addListener(async (changes, area) => {
      await ready;
      await this.#hear(changes, area);
    });
    document.body.classList.toggle("in-tab", Boolean(await chrome.tabs.getCurrent()));
    this.settings = await readSettings();
    this.status = await readStatus();
    this.key = await loadKey();
    const digits = await fingerprint(this.key.public);
    for (const place of document.querySelectorAll("[data-fill=fingerprint]")) {
      place.textContent = digits;
    }
    at("welcome-service").value = this.settings.service;
    bindTabs((tab) => this.openTab(tab));
    bindActions(this);
    await this.#recall();
    this.showAll();
    settle();
    setInterval(() => this.#tick(), 1000);
    setInterval(() => this.refresh(), REFRESH_MS);
    await this.refresh();
  }

  async #recall() {
    const seen = await readSeen();
    if (!this.settings.joined || seen?.service !== this.settings.service) return;
    try {
      this.#take(seen);
    } catch (error) {
      // Kept by another version of this page, perhaps.
      await forgetSeen();
      this.fail(error);
    }
  }

  /** Show numbers; what cannot be shown is not kept. @throws {TypeError|RangeError} */
  #take({ about, standing, atMs }) {
    const before = { about: this.about, standing: this.standing, seenMs: this.seenMs };
    const offsetMs = this.offsetMs;
    try {
      Object.assign(this, { about, standing, seenMs: atMs, offsetMs: standing.now_ms - atMs });
      this.showAll();
    } catch (error) {
      Object.assign(this, { ...before, offsetMs });
      throw error;
    }
  }

  /** Ask the service for everything on the page; calls that come meanwhile share the answer. */
  refresh() {
    this.refreshing ??= this.#refresh().finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  async #refresh() {
    const { service, joined } = this.settings;
    if (!joined) return;
    try {
      if (this.caller.origin !== service) {
        this.about = await visit(service);
        this.caller = new Caller(service, this.key, peerOf(this.about));
      }
      await this.#arrive();
      const standing = await this.caller.call("GET", "/v1/account");
      const atMs = Date.now();
      if (service === this.settings.service) {
        this.#take({ about: this.about, standing, atMs });
        await writeSeen({ service, about: this.about, standing, atMs });
        if (!this.settings.wallet) await this.acceptWallet();
        if (this.isStale) this.warn("");
        this.isStale = false;
        show("other-service", false);
      }
    } catch (error) {
      this.isStale = true;
      this.fail(error);
    }
    // Somebody chose another one meanwhile: its numbers are wanted, not these.
    if (service !== this.settings.service) return this.#refresh();
    this.showAll();
    await this.#fillTab();
  }

  async #arrive() {
    try {
      const arrived = await arrive(this.caller, this.settings.moving, this.about.service);
      if (arrived) this.warn("Your account has moved here.", true);
    } catch (error) {
      // The account can be used all the same, and the departure is kept.
      if (!(error instanceof ServiceError)) throw error;
      this.warn(`Your account could not be moved here: ${error.message}.`);
    }
  }

  /** Take the wallet that the service names for the right one. */
  async acceptWallet() {
    const { wallet } = this.standing;
    this.settings = { ...this.settings, wallet };
    await writeSettings({ wallet });
    this.showAll();
  }

  /** Do something that may fail for reasons that people should read. */
  async attempt(act) {
    this.warn("");
    try {
      await act();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Show the trouble that a request met with. */
  fail(error) {
    if (error instanceof OtherServiceError) {
      say("pinned-key", error.pinned.service);
      say("shown-key", error.shown.service);
      this.shown = error.shown;
      show("other-service", true);
      return;
    }
    const isOurs = error instanceof ServiceError || error instanceof InputError;
    if (!isOurs) console.error(error);
    const what = isOurs ? error.message : "what the service says cannot be shown";
    const asOf = this.isStale && this.standing ? ` Numbers as of ${formatClock(this.seenMs)}.` : "";
    this.warn(`${what.replace(/[.]$/, "")}.${asOf}`);
  }

  /** A line of text for what went wrong; "" takes it away. */
  warn(text, isGood = false) {
    at("notice").classList.toggle("good", isGood);
    say("notice", text && text[0].toUpperCase() + text.slice(1));
    show("notice", Boolean(text));
  }

  /** Fetch what a tab shows beside the account; later, if the account is not there yet. */
  async openTab(tab) {
    this.tab = tab;
    if (!this.caller.origin || !this.standing) return;
    this.filled = `${tab} of ${this.caller.origin}`;
    try {
      if (tab === "earn") await this.#fetchEarn();
      if (tab === "ledger") await this.#fetchEntries();
      if (tab === "settings") await this.#fetchServices();
    } catch (error) {
      this.fail(error);
    }
  }

  async #fillTab() {
    if (this.filled !== `${this.tab} of ${this.caller.origin}`) await this.openTab(this.tab);
  }

  async #fetchEarn() {
    const { missions } = await this.caller.call("GET", "/v1/missions");
    const { campaigns } = await this.caller.call("GET", "/v1/campaigns");
    showTasks(missions, campaigns, (task, word) => this.attempt(() => claimTask(this, task, word)));
    const { draws } = await this.caller.call("GET", "/v1/draws");
    const now = Date.now() + this.offsetMs;
    const open = draws.find(
      (draw) => draw.state === "open" && draw.opens_ms <= now && now < draw.closes_ms,
    );
    this.openDraw = open && (await this.caller.call("GET", `/v1/draws/${open.id}`));
    const last = draws.find((draw) => draw.state === "done");
    showDraw(this.openDraw, last, this.standing, this.settings.service);
  }

  async #fetchEntries() {
    const path = `/v1/account/ledger?newest=${NEWEST_ENTRIES}`;
    const { entries } = await this.caller.call("GET", path);
    showEntries(entries, `user:${this.standing.wallet}`);
  }

  async #fetchServices() {
    const { services } = await this.caller.call("GET", "/v1/services");
    showServices(services, this.about, this.settings.moving);
  }

  showAll() {
    const { settings, standing, about } = this;
    const running = at("running");
    running.hidden = !settings.joined;
    running.setAttribute("aria-checked", String(!settings.paused));
    say("running-text", settings.paused ? "Paused" : "On");
    show("welcome", !settings.joined);
    show("signed-in", settings.joined && Boolean(standing));
    this.#tick();
    if (!settings.joined) {
      const isWaiting = Date.now() < settings.signingInUntil;
      const moving = settings.moving ? "Sign in at the new service to bring your account along." : "";
      say(
        "sign-in-waiting",
        isWaiting ? "Waiting for your signature on the page that opened." : moving,
      );
    }
    const isOther = settings.joined && standing && settings.wallet && settings.wallet !== standing.wallet;
    show("other-wallet", Boolean(isOther));
    if (!standing) return;
    say("known-wallet", settings.wallet);
    say("shown-wallet", standing.wallet);
    showToday(standing, about);
    showEarn(standing, about);
    showAccount(standing, about, settings);
  }

  #tick() {
    const now = Date.now();
    showStatus(this.status, this.standing?.status, now);
    if (this.standing) showCountdowns(this.standing, now + this.offsetMs, this.offsetMs);
  }

  async #hear(changes, area) {
    if (area === "session" && changes.status) {
      const before = this.status;
      this.status = changes.status.newValue;
      this.#tick();
      if (this.status?.beats !== before?.beats) await this.refresh();
    }
    if (area === "local") {
      const hadJoined = this.settings.joined;
      this.settings = await readSettings();
      if (changes.service || (hadJoined && !this.settings.joined)) {
        this.standing = null;
        await forgetSeen();
      }
      this.showAll();
      if (this.settings.joined && (!hadJoined || changes.service)) await this.refresh();
    }
  }
}

await new Popup().start();
