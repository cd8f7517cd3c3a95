/**
 * What is signed, byte for byte (protocols/zeronode_beats.py), and the frames of a session
 * (protocols/zeronode_frames.py). Signed is always domain ‖ network ‖ fields of fixed width.
 */

import { bigEndian, fromHex, join } from "./bytes.js";

const HELLO_DOMAIN = "kaisar/zeronode-hello/1";
const CHALLENGE_DOMAIN = "kaisar/zeronode-challenge/1";
const BEAT_DOMAIN = "kaisar/zeronode-beat/1";
const TOKEN_DOMAIN = "kaisar/zeronode-token/1";
const CONSENT_DOMAIN = "kaisar/zeronode-consent/1";

const MAX_FRAME_CHARS = 32_768;
const MAX_REASON_CHARS = 128;
const MAX_SEQUENCE = 0xffffffff;

/** @typedef {{network: Uint8Array, service: Uint8Array}} Peer whom the key speaks with */

/** @param {Peer} peer @param {Uint8Array} nonce @param {Uint8Array} boot @param {Uint8Array} key */
export function helloMessage(peer, nonce, boot, key) {
  return message(HELLO_DOMAIN, peer, [peer.service, 32], [nonce, 32], [boot, 16], [key, 32]);
}

/** @param {Peer} peer @param {Uint8Array} sid @param {number} seq @param {Uint8Array} nonce */
export function challengeMessage(peer, sid, seq, nonce, key) {
  return message(CHALLENGE_DOMAIN, peer, [sid, 16], [bigEndian(seq, 4), 4], [nonce, 32], [key, 32]);
}

/** @param {Peer} peer @param {Uint8Array} sid @param {number} seq @param {Uint8Array} nonce */
export function beatMessage(peer, sid, seq, nonce, boot) {
  return message(
    BEAT_DOMAIN,
    peer,
    [peer.service, 32],
    [sid, 16],
    [bigEndian(seq, 4), 4],
    [nonce, 32],
    [boot, 16],
  );
}

/** @param {Peer} peer @param {Uint8Array} nonce @param {Uint8Array} key */
export function tokenMessage(peer, nonce, key) {
  return message(TOKEN_DOMAIN, peer, [peer.service, 32], [nonce, 32], [key, 32]);
}

/** @param {Peer} peer @param {Uint8Array} nonce @param {Uint8Array} key */
export function consentMessage(peer, nonce, key) {
  return message(CONSENT_DOMAIN, peer, [peer.service, 32], [nonce, 32], [key, 32]);
}

function message(domain, peer, ...fields) {
  // Widths are fixed: otherwise two meanings could share their bytes.
  for (const [value, size] of fields) {
    if (value.length !== size) throw new TypeError(`${value.length} bytes where ${size} belong`);
  }
  if (peer.network.length !== 32) throw new TypeError("a network id has 32 bytes");
  return join(domain, peer.network, ...fields.map(([value]) => value));
}

/** Fields of each kind of frame that a service sends, and how each is read. */
const KINDS = {
  greet: { v: version, service: hex(32), nonce: hex(32) },
  welcome: { sid: hex(16), bound: flag, earning: flag, reason: text },
  refuse: { reason: text, retry_ms: number },
  challenge: { sid: hex(16), seq: sequence, nonce: hex(32), answer_ms: number, sig: hex(64) },
  credit: { seq: sequence, paid_ms: number, earning: flag, reason: text, account: document },
  bye: { reason: text, retry_ms: number },
};

/**
 * Read a frame of the service.
 * @param {unknown} data @returns {object} `t` and the fields of that kind; hex as bytes
 * @throws {TypeError} for anything that is not exactly such a frame
 */
export function parseFrame(data) {
  if (typeof data !== "string" || data.length > MAX_FRAME_CHARS) throw new TypeError("oversized");
  let values;
  try {
    values = JSON.parse(data);
  } catch {
    throw new TypeError("not JSON");
  }
  if (values === null || typeof values !== "object") throw new TypeError("not an object");
  const kind = Object.hasOwn(KINDS, values.t) ? KINDS[values.t] : undefined;
  if (!kind) throw new TypeError("unknown frame");
  const names = Object.keys(kind);
  if (Object.keys(values).length !== names.length + 1) throw new TypeError("wrong fields");
  const frame = { t: values.t };
  for (const name of names) {
    if (!Object.hasOwn(values, name)) throw new TypeError("wrong fields");
    frame[name] = kind[name](values[name]);
  }
  return frame;
}

function hex(size) {
  return (value) => fromHex(value, size);
}

function number(value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new TypeError("not a number");
  return value;
}

function sequence(value) {
  if (number(value) > MAX_SEQUENCE) throw new TypeError("not a sequence number");
  return value;
}

function version(value) {
  if (value !== 1) throw new TypeError("another version");
  return value;
}

function flag(value) {
  if (typeof value !== "boolean") throw new TypeError("neither true nor false");
  return value;
}

function text(value) {
  if (typeof value !== "string" || value.length > MAX_REASON_CHARS) throw new TypeError("no text");
  return value;
}

function document(value) {
  if (typeof value !== "object" || Array.isArray(value)) throw new TypeError("not an object");
  return value;
}
