/**
 * Moving an account: the old home signs a departure, which is kept until the new home has taken it in.
 * Either step may be repeated: the old home gives the same departure, and the new one books it once.
 */

import { ask, visit } from "./service.js";
import { readServiceAddress, writeSettings } from "./settings.js";

/**
 * Leave for the service with the key `to`, and turn to it if it says where it is.
 * @param {import("./service.js").Caller} caller @param {string} to
 * @returns {Promise<string>} its address, or "" where somebody has to enter it
 */
export async function leave(caller, to) {
  const { departure, url } = await caller.call("POST", "/v1/account/departure", { to });
  await writeSettings({ moving: { departure, to } });
  if (!url) return "";
  const service = readServiceAddress(url);
  await turnTo(service, caller.key);
  return service;
}

/**
 * Work with another service from now on; it needs a sign-in unless it knows the key already.
 * @param {string} service @param {import("./keys.js").DeviceKey} key
 */
export async function turnTo(service, key) {
  await visit(service);
  const { bound } = await ask(service, `/v1/keys/${key.hex}`);
  await writeSettings({ service, joined: bound, signingInUntil: 0 });
}

/**
 * Hand the departure in, if this is the service that it is for.
 * @param {import("./service.js").Caller} caller
 * @param {import("./settings.js").Moving|null} moving @param {string} service key that was shown
 * @returns {Promise<object|null>} what arrived
 */
export async function arrive(caller, moving, service) {
  if (moving?.to !== service) return null;
  const arrived = await caller.call("POST", "/v1/arrivals", { departure: moving.departure });
  await writeSettings({ moving: null });
  return arrived;
}
