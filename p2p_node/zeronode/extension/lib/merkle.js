/** Paths in Merkle trees, by the rules of protocols/merkle.py. */

import { isEqual, sha256 } from "./bytes.js";

const NODE_TAG = "kaisar/merkle-node/1";
const LEAF_TAG = "kaisar/merkle-leaf/1";
const DIGEST_BYTES = 32;

/** @param {Uint8Array} data @returns {Promise<Uint8Array>} its digest as a leaf */
export function hashLeaf(data) {
  return sha256(LEAF_TAG, data);
}

/**
 * The root to which `path` leads from leaf `index` of `size`.
 * @param {Uint8Array} leaf @param {number} index @param {number} size
 * @param {Uint8Array} path siblings from the bottom up, end to end
 * @returns {Promise<Uint8Array>}
 * @throws {RangeError} for a leaf that there is not, or a path of another length
 */
export async function rootFromPath(leaf, index, size, path) {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) {
    throw new RangeError(`leaf ${index} of ${size}`);
  }
  let digest = leaf;
  let start = 0;
  let place = index;
  for (let last = size - 1; last > 0; last = Math.floor(last / 2)) {
    const isRight = place % 2 === 1;
    if (isRight || place + 1 <= last) {
      const sibling = path.subarray(start, start + DIGEST_BYTES);
      if (sibling.length !== DIGEST_BYTES) throw new RangeError("the path is too short");
      start += DIGEST_BYTES;
      digest = isRight
        ? await sha256(NODE_TAG, sibling, digest)
        : await sha256(NODE_TAG, digest, sibling);
    }
    place = Math.floor(place / 2);
  }
  if (start !== path.length) throw new RangeError("the path is too long");
  return digest;
}

/** Tell whether `path` leads from `leaf` to `root`; false also for a path of another length. */
export async function leadsTo(root, leaf, index, size, path) {
  try {
    return isEqual(root, await rootFromPath(leaf, index, size, path));
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
