/** When to try again after a failure. */

const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;

/**
 * Doubling from one second to a minute, each with jitter of half: whoever lost the service at the
 * same moment must not come back at the same moment.
 * @param {number} failures in a row, from 1
 * @param {number} askedMs what the service asked for
 * @param {number} chance in [0, 1)
 */
export function delayAfter(failures, askedMs, chance) {
  const grown = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  return Math.round(Math.max(askedMs, grown / 2) + (chance * grown) / 2);
}
