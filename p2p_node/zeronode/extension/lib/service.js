/** HTTP to the service: bounded, with a deadline, and every failure a ServiceError. */

import { fromHex } from "./bytes.js";
import { sign } from "./keys.js";
import { readSettings, writeSettings } from "./settings.js";
import { consentMessage, tokenMessage } from "./wire.js";

const DEADLINE_MS = 10_000;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** The service did not do what it was asked; `reason` is a phrase for people. */
export class ServiceError extends Error {
  /** @param {string} reason @param {number} status of HTTP, 0 when there was no answer */
  constructor(reason, status = 0, detail = "") {
    super(detail ? `${reason}: ${detail}` : reason);
    this.reason = reason;
    this.status = status;
  }

  /** True if the service decided so: asking once more changes nothing. */
  get isRefusal() {
    return this.status >= 400 && this.status < 500;
  }
}

/** The service shows another key, or another network, than at the first visit. */
export class OtherServiceError extends Error {
  /** @param {import("./settings.js").Pin} pinned @param {import("./settings.js").Pin} shown */
  constructor(pinned, shown) {
    super("the service is not the one it was");
    this.pinned = pinned;
    this.shown = shown;
  }
}

/**
 * One request.
 * @param {string} origin @param {string} path
 * @param {{method?: string, body?: object, token?: string}} [options]
 * @returns {Promise<any>} the JSON that came
 */
export async function ask(origin, path, { method = "GET", body, token } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  let text;
  try {
    response = await fetch(origin + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(DEADLINE_MS),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
    text = await readCapped(response);
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw new ServiceError(
      error.name === "TimeoutError" ? "no answer within 10 s" : "the service cannot be reached",
    );
  }
  const answer = parse(text);
  if (!response.ok) {
    const reason = typeof answer?.error === "string" ? answer.error : `HTTP ${response.status}`;
    throw new ServiceError(reason, response.status, describeDetail(answer?.detail));
  }
  if (answer === undefined) throw new ServiceError("the answer is not JSON", response.status);
  return answer;
}

async function readCapped(response) {
  if (!response.body) return "";
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let total = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    total += value.length;
    if (total > MAX_ANSWER_BYTES) {
      await reader.cancel();
      throw new ServiceError("the answer is too long", response.status);
    }
    text += decoder.decode(value, { stream: true });
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function describeDetail(detail) {
  return typeof detail === "string" ? detail : "";
}

/**
 * What the service says of itself, and whether it is the one that it was: its key is taken at the
 * first visit and compared ever after.
 * @throws {OtherServiceError}
 */
export async function visit(origin) {
  const about = await ask(origin, "/v1/service");
  const shown = { service: about?.service, network: about?.network };
  try {
    fromHex(shown.service, 32);
    fromHex(shown.network, 32);
  } catch {
    throw new ServiceError("this address is not a ZeroNode service");
  }
  const { pins } = await readSettings();
  const pinned = pins[origin];
  if (!pinned) {
    await writeSettings({ pins: { ...pins, [origin]: shown } });
  } else if (pinned.service !== shown.service || pinned.network !== shown.network) {
    throw new OtherServiceError(pinned, shown);
  }
  return about;
}

/** Take the key that the service shows now for the right one. */
export async function trust(origin, pin) {
  const { pins } = await readSettings();
  await writeSettings({ pins: { ...pins, [origin]: pin } });
}

/**
 * Whom statements to a service name.
 * @param {import("./settings.js").Pin} about @returns {import("./wire.js").Peer}
 */
export function peerOf({ service, network }) {
  return { service: fromHex(service, 32), network: fromHex(network, 32) };
}

/**
 * Let the service bind the key to the wallet that signs on its page, within ten minutes.
 * @param {string} origin @param {import("./keys.js").DeviceKey} key
 * @param {import("./wire.js").Peer} peer
 * @returns {Promise<{nonce: string, consent: string}>} as the page wants them, in hex digits
 */
export async function agree(origin, key, peer) {
  const { nonce } = await ask(origin, "/v1/sign-in/consent", { method: "POST" });
  const message = consentMessage(peer, fromHex(nonce, 32), key.public);
  return { nonce, consent: await sign(key, message) };
}

/** Asks in the name of the key: fetches a token when there is none, and again when it is refused. */
export class Caller {
  /** @param {string} origin @param {import("./keys.js").DeviceKey} key */
  constructor(origin, key, pin) {
    this.origin = origin;
    this.key = key;
    this.pin = pin;
    this.token = "";
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  async call(method, path, body) {
    if (!this.token) await this.#fetchToken();
    try {
      return await ask(this.origin, path, { method, body, token: this.token });
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 401) throw error;
    }
    // Tokens end with the process of the service, and with time.
    await this.#fetchToken();
    return ask(this.origin, path, { method, body, token: this.token });
  }

  async #fetchToken() {
    const { nonce } = await ask(this.origin, "/v1/tokens/nonce", { method: "POST" });
    const message = tokenMessage(this.pin, fromHex(nonce, 32), this.key.public);
    const sig = await sign(this.key, message);
    const answer = await ask(this.origin, "/v1/tokens", {
      method: "POST",
      body: { key: this.key.hex, nonce, sig },
    });
    this.token = answer.token;
  }
}
