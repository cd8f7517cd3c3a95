/**
 * The key of this extension: Ed25519, made once, kept in IndexedDB as a CryptoKey that no script can
 * export. It is not a proof of a device: whoever copies the whole browser profile copies the key.
 */

import { sha256, toHex } from "./bytes.js";

const DATABASE = "zeronode";
const STORE = "keys";
const NAME = "device";

/** @typedef {{privateKey: CryptoKey, public: Uint8Array, hex: string}} DeviceKey */

/**
 * The key, made if there is none.
 * @returns {Promise<DeviceKey>}
 */
export async function loadKey() {
  const database = await openDatabase();
  try {
    let pair = await request(database.transaction(STORE).objectStore(STORE).get(NAME));
    if (!pair) {
      const made = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
      // Worker and popup may both have found nothing: the first to write wins, in one transaction.
      pair = await keepFirst(database, made);
    }
    const exported = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    return { privateKey: pair.privateKey, public: exported, hex: toHex(exported) };
  } finally {
    database.close();
  }
}

/** Forget the key for good; the next `loadKey` makes another. */
export async function forgetKey() {
  const database = await openDatabase();
  try {
    await request(database.transaction(STORE, "readwrite").objectStore(STORE).delete(NAME));
  } finally {
    database.close();
  }
}

/** @param {DeviceKey} key @param {Uint8Array} message @returns {Promise<string>} 128 hex digits */
export async function sign(key, message) {
  return toHex(new Uint8Array(await crypto.subtle.sign("Ed25519", key.privateKey, message)));
}

/** @param {Uint8Array} signer 32 bytes @param {Uint8Array} message @param {Uint8Array} signature */
export async function verify(signer, message, signature) {
  try {
    const key = await crypto.subtle.importKey("raw", signer, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", key, signature, message);
  } catch (error) {
    if (error instanceof DOMException) return false;
    throw error;
  }
}

/**
 * What people compare: eight groups of four digits of the key's SHA-256.
 * @param {Uint8Array} key
 */
export async function fingerprint(key) {
  const digits = toHex(await sha256(key)).slice(0, 32);
  return digits.match(/.{4}/g).join(" ");
}

function openDatabase() {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  return request(opening);
}

function keepFirst(database, made) {
  const transaction = database.transaction(STORE, "readwrite");
  const store = transaction.objectStore(STORE);
  return new Promise((resolve, reject) => {
    let kept = made;
    const reading = store.get(NAME);
    reading.onsuccess = () => {
      if (reading.result) kept = reading.result;
      else store.put(made, NAME);
    };
    transaction.oncomplete = () => resolve(kept);
    transaction.onabort = () => reject(transaction.error);
  });
}

function request(pending) {
  return new Promise((resolve, reject) => {
    pending.onsuccess = () => resolve(pending.result);
    pending.onerror = () => reject(pending.error);
  });
}
