/** Keccak-256, which addresses with a checksum need and browsers lack. */

const MASK = (1n << 64n) - 1n;
const RATE_BYTES = 136;
const ROUNDS = 24;

/** @param {Uint8Array} data @returns {Uint8Array} 32 bytes */
export function keccak256(data) {
  const padded = new Uint8Array((Math.floor(data.length / RATE_BYTES) + 1) * RATE_BYTES);
  padded.set(data);
  padded[data.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  const state = new Array(25).fill(0n);
  for (let start = 0; start < padded.length; start += RATE_BYTES) {
    const view = new DataView(padded.buffer, start, RATE_BYTES);
    for (let lane = 0; lane < RATE_BYTES / 8; lane += 1) {
      state[lane] ^= view.getBigUint64(8 * lane, true);
    }
    permute(state);
  }
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  for (let lane = 0; lane < 4; lane += 1) out.setBigUint64(8 * lane, state[lane], true);
  return digest;
}

function permute(state) {
  let shifts = 1;
  for (let round = 0; round < ROUNDS; round += 1) {
    const column = [0, 1, 2, 3, 4].map(
      (x) => state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20],
    );
    for (let x = 0; x < 5; x += 1) {
      const change = column[(x + 4) % 5] ^ rotate(column[(x + 1) % 5], 1);
      for (let y = 0; y < 25; y += 5) state[x + y] ^= change;
    }
    let [x, y] = [1, 0];
    let carried = state[1];
    for (let step = 0; step < 24; step += 1) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      const place = x + 5 * y;
      const next = state[place];
      state[place] = rotate(carried, (((step + 1) * (step + 2)) / 2) % 64);
      carried = next;
    }
    for (let row = 0; row < 25; row += 5) {
      const old = state.slice(row, row + 5);
      for (let lane = 0; lane < 5; lane += 1) {
        state[row + lane] = old[lane] ^ (~old[(lane + 1) % 5] & MASK & old[(lane + 2) % 5]);
      }
    }
    // The round's constant comes from a linear feedback register of eight bits.
    for (let power = 0; power <= 6; power += 1) {
      if (shifts & 1) state[0] ^= 1n << BigInt((1 << power) - 1);
      shifts = shifts & 0x80 ? ((shifts << 1) ^ 0x171) & 0xff : shifts << 1;
    }
  }
}

function rotate(lane, bits) {
  if (!bits) return lane;
  return ((lane << BigInt(bits)) | (lane >> BigInt(64 - bits))) & MASK;
}
