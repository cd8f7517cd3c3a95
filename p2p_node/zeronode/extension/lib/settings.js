/**
 * What the extension remembers, all of it in chrome.storage, on this machine only.
 *
 * `local` (kept): service, paused, joined, signingInUntil, pins, moving, wallet.
 * `session` (gone with the browser): status, and seen, the numbers that the popup showed last.
 * Worker and popup speak through it: whoever changes a setting, the other hears of it.
 */

export const DEFAULT_SERVICE = "http://127.0.0.1:8750";

/** Time that a sign-in may take before the worker stops asking whether it happened. */
export const SIGN_IN_MS = 15 * 60_000;

const DEFAULTS = Object.freeze({
  service: DEFAULT_SERVICE,
  paused: false,
  // True once the service said that this key belongs to an account.
  joined: false,
  signingInUntil: 0,
  // Keys of services by their address, taken at the first visit.
  pins: {},
  // A departure that the new home has not taken in yet.
  moving: null,
  // Of the account that was seen first: a service that names another one is pointed out.
  wallet: "",
});

/**
 * @typedef {{service: string, paused: boolean, joined: boolean, signingInUntil: number,
 *   pins: Object<string, Pin>, moving: Moving|null, wallet: string}} Settings
 * @typedef {{departure: string, to: string}} Moving `to` is the new home's key
 * @typedef {{service: string, network: string}} Pin both 64 hex digits
 * @returns {Promise<Settings>}
 */
export async function readSettings() {
  return chrome.storage.local.get(DEFAULTS);
}

/** @param {Partial<Settings>} changes */
export async function writeSettings(changes) {
  await chrome.storage.local.set(changes);
}

/** What somebody typed cannot be used; the message is a sentence for that person. */
export class InputError extends Error {}

/**
 * Read an address that somebody typed: https, or http on this machine.
 * @param {string} text @returns {string} its origin
 * @throws {InputError}
 */
export function readServiceAddress(text) {
  let url;
  try {
    url = new URL(text.trim());
  } catch {
    throw new InputError("That is not an address. It looks like https://zeronode.example");
  }
  const isHere = url.hostname === "127.0.0.1" || url.hostname === "localhost";
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isHere)) {
    throw new InputError("The address has to begin with https:// (http:// only for 127.0.0.1)");
  }
  if (url.pathname !== "/" || url.search || url.hash || url.username || url.password) {
    throw new InputError(`Only the first part is needed: ${url.origin}`);
  }
  return url.origin;
}

/**
 * @typedef {{state: State, reason: string, sinceMs: number, saidMs: number, lastPaidMs: number,
 *   beats: number, wanted: string, failures: number, waitMs: number, retryAtMs: number,
 *   boot: string}} Status
 * @typedef {"earning"|"idle"|"connecting"|"offline"|"paused"|"signed-out"|"stopped"} State
 */

/** @returns {Promise<Status|undefined>} what the worker said last */
export async function readStatus() {
  return (await chrome.storage.session.get("status")).status;
}

/** @param {Status} status */
export async function writeStatus(status) {
  await chrome.storage.session.set({ status });
}

/**
 * What the service said last, so that the popup opens with numbers, not with a blank.
 * @returns {Promise<{service: string, about: object, standing: object, atMs: number}|undefined>}
 */
export async function readSeen() {
  return (await chrome.storage.session.get("seen")).seen;
}

export async function writeSeen(seen) {
  await chrome.storage.session.set({ seen });
}

export async function forgetSeen() {
  await chrome.storage.session.remove("seen");
}
