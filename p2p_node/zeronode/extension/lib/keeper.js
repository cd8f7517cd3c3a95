/**
 * Keeps one session open as long as the settings want one, and says how it stands.
 *
 * `look` compares what is with what should be. It may be called at any moment and as often as one
 * likes: calls queue up, and one that finds everything in order does nothing.
 */

import { delayAfter } from "./backoff.js";
import { showBadge } from "./badge.js";
import { toHex } from "./bytes.js";
import { Ended } from "./frames.js";
import { loadKey } from "./keys.js";
import { ask, OtherServiceError, peerOf, ServiceError, visit } from "./service.js";
import { runSession } from "./session.js";
import { readSettings, readStatus, writeSettings, writeStatus } from "./settings.js";

/** Between two questions whether a sign-in has happened. */
const SIGN_IN_POLL_MS = 2_000;

/** Longest wait that a timer is trusted with; a longer one is left to the alarm. */
const LONGEST_TIMER_MS = 20_000;

const NO_FAILURE = Object.freeze({ failures: 0, waitMs: 0, retryAtMs: 0 });

export class Keeper {
  #boot = crypto.getRandomValues(new Uint8Array(16));
  #status = null;
  #running = null;
  #timer = 0;
  #turn = Promise.resolve();

  /** @param {{isChanged?: boolean, isUrgent?: boolean}} [why] */
  look({ isChanged = false, isUrgent = false } = {}) {
    const looking = this.#turn.then(() => this.#look(isChanged, isUrgent));
    // One that failed is reported by the browser, and must not hold up those that follow.
    this.#turn = looking.catch(() => undefined);
    return looking;
  }

  async #look(isChanged, isUrgent) {
    const settings = await readSettings();
    if (!this.#status) this.#status = await recall(this.#boot);
    const wanted = describeWanted(settings);
    if (this.#running && (this.#running.wanted !== wanted || !wanted)) {
      this.#running.abort.abort();
      this.#running = null;
    }
    if (this.#running) return;
    clearTimeout(this.#timer);
    if (settings.paused) return this.#say("paused", "you switched it off");
    if (!settings.joined) return this.#awaitSignIn(settings);
    const isOther = isChanged || this.#status.wanted !== wanted;
    if (this.#status.state === "stopped" && !isUrgent && !isOther) return;
    const leftMs = this.#status.retryAtMs - Date.now();
    // More than was agreed: the clock was set back.
    const isWaiting = leftMs > 0 && leftMs <= this.#status.waitMs;
    if (isWaiting && !isUrgent && !isOther) return this.#lookAfter(leftMs);
    this.#start(settings, wanted);
  }

  /** Ask whether the wallet has been put behind our key, while somebody is about to do so. */
  async #awaitSignIn(settings) {
    if (Date.now() >= settings.signingInUntil) {
      return this.#say("signed-out", "sign in with a wallet to begin");
    }
    await this.#say("signed-out", "waiting for your signature on the sign-in page");
    try {
      if (!settings.pins[settings.service]) await visit(settings.service);
      const key = await loadKey();
      const { bound } = await ask(settings.service, `/v1/keys/${key.hex}`);
      if (bound) return await writeSettings({ joined: true, signingInUntil: 0 });
    } catch (error) {
      if (!isExpected(error)) throw error;
      await this.#say("signed-out", describe(error));
    }
    this.#lookAfter(SIGN_IN_POLL_MS);
  }

  #start(settings, wanted) {
    const abort = new AbortController();
    const running = { wanted, abort };
    this.#running = running;
    this.#hold(settings.service, wanted, abort.signal).catch(async (error) => {
      if (this.#running === running) {
        this.#running = null;
        await this.#lose(error);
      }
      if (!isExpected(error)) throw error;
    });
  }

  async #hold(origin, wanted, signal) {
    await this.#say("connecting", `calling ${origin}`, { wanted });
    const peer = peerOf(await visit(origin));
    const key = await loadKey();
    await runSession({
      origin,
      key,
      boot: this.#boot,
      peer,
      signal,
      onWelcome: (frame) => this.#welcome(frame),
      onCredit: (frame) => this.#credit(frame),
    });
  }

  #welcome({ bound, earning, reason }) {
    // Revoked elsewhere: no session earns until somebody signs in again.
    if (!bound) return writeSettings({ joined: false });
    const why = earning ? "waiting for the service's first question" : reason;
    // Failures count until a beat: whoever is welcomed and dropped must not come back every second.
    return this.#say(earning ? "connecting" : "idle", why, { waitMs: 0, retryAtMs: 0 });
  }

  #credit({ paid_ms: paidMs, earning, reason }) {
    const { beats, lastPaidMs } = this.#status;
    const isPaid = paidMs > 0;
    // A first beat earns nothing yet: two make a stretch.
    const state = isPaid ? "earning" : earning ? "connecting" : "idle";
    return this.#say(state, reason, {
      ...NO_FAILURE,
      beats: beats + 1,
      lastPaidMs: isPaid ? Date.now() : lastPaidMs,
    });
  }

  async #lose(error) {
    const isFinal = error instanceof OtherServiceError || (error instanceof Ended && error.isFinal);
    if (isFinal) return this.#say("stopped", describe(error), NO_FAILURE);
    const failures = this.#status.failures + 1;
    const askedMs = error instanceof Ended ? error.retryMs : 0;
    const waitMs = delayAfter(failures, askedMs, Math.random());
    const retryAtMs = Date.now() + waitMs;
    await this.#say("offline", describe(error), { failures, waitMs, retryAtMs });
    this.#lookAfter(waitMs);
  }

  /** Timers end with the worker; what they miss, the alarm makes good. */
  #lookAfter(waitMs) {
    clearTimeout(this.#timer);
    if (waitMs <= LONGEST_TIMER_MS) this.#timer = setTimeout(() => this.look(), waitMs);
  }

  async #say(state, reason, changes = {}) {
    const sinceMs = this.#status.state === state ? this.#status.sinceMs : Date.now();
    this.#status = { ...this.#status, ...changes, state, reason, sinceMs, saidMs: Date.now() };
    await Promise.all([writeStatus(this.#status), showBadge(this.#status)]);
  }
}

/** The service with which a session is wanted, "" for none. */
function describeWanted({ paused, joined, service }) {
  return paused || !joined ? "" : service;
}

async function recall(boot) {
  const last = await readStatus();
  const fresh = {
    state: "connecting",
    reason: "",
    sinceMs: Date.now(),
    lastPaidMs: 0,
    beats: 0,
    wanted: "",
    ...NO_FAILURE,
  };
  return { ...fresh, ...last, boot: toHex(boot) };
}

function isExpected(error) {
  return (
    error instanceof Ended || error instanceof ServiceError || error instanceof OtherServiceError
  );
}

function describe(error) {
  if (error instanceof OtherServiceError) return "the service shows another key than before";
  return error instanceof Ended ? error.reason : error.message;
}
