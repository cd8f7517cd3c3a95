/** Byte strings: hex without prefix, joined pieces, big-endian numbers, SHA-256. */

const encoder = new TextEncoder();

/** @param {Uint8Array} bytes @returns {string} lower-case hex, no prefix */
export function toHex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/**
 * Read lower-case hex.
 * @param {unknown} text @param {number} [length] bytes that there must be
 * @returns {Uint8Array}
 * @throws {TypeError} for anything else
 */
export function fromHex(text, length) {
  if (typeof text !== "string" || text.length % 2 || !/^[0-9a-f]*$/.test(text)) {
    throw new TypeError("not lower-case hex");
  }
  if (length !== undefined && text.length !== 2 * length) {
    throw new TypeError(`${text.length / 2} bytes where ${length} are expected`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) {
    bytes[index] = Number.parseInt(text.slice(2 * index, 2 * index + 2), 16);
  }
  return bytes;
}

/** @param {...(Uint8Array|string)} pieces strings stand for their UTF-8 @returns {Uint8Array} */
export function join(...pieces) {
  const parts = pieces.map((piece) => (typeof piece === "string" ? encoder.encode(piece) : piece));
  const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let start = 0;
  for (const part of parts) {
    joined.set(part, start);
    start += part.length;
  }
  return joined;
}

/** @param {number} value a non-negative integer below 2^53 @param {number} length bytes */
export function bigEndian(value, length) {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no such number`);
  const bytes = new Uint8Array(length);
  let rest = BigInt(value);
  for (let index = length - 1; index >= 0; index -= 1) {
    bytes[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  if (rest) throw new RangeError(`${value} does not fit into ${length} bytes`);
  return bytes;
}

/** @param {Uint8Array} left @param {Uint8Array} right */
export function isEqual(left, right) {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

/** @param {...(Uint8Array|string)} pieces @returns {Promise<Uint8Array>} 32 bytes */
export async function sha256(...pieces) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", join(...pieces)));
}
