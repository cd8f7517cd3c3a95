/**
 * Checks one's own books without trust in the service, by the rules of protocols/ledger_records.py:
 * every entry's sum and hash, its place in the root of its day, and the balances under that root.
 */

import { bigEndian, fromHex, isEqual, join, sha256 } from "./bytes.js";
import { leadsTo } from "./merkle.js";

const LEDGER_TAG = "kaisar/zeronode-ledger/1";
const ENTRY_TAG = "kaisar/zeronode-entry/1";
const BALANCE_TAG = "kaisar/zeronode-balance/1";
const DAY_TAG = "kaisar/zeronode-day/1";

/** What is counted: 1/2880 of a point, and tickets. */
export const POINTS = 1;
export const TICKETS = 2;

/** Id of the books of `service` on `network`, what stands before their first entry. */
export function ledgerId(peer) {
  return sha256(LEDGER_TAG, peer.network, peer.service);
}

/**
 * Hash of an entry over its canonical bytes.
 * @param {Entry} entry
 * @typedef {{account: string, unit: 1|2, amount: number}} Line
 * @typedef {{number: number, at_ms: number, previous: string, key: string, kind: string,
 *   note: string, lines: Line[], hash: string}} Entry
 */
export function hashEntry(entry) {
  const parts = [
    bigEndian(entry.number, 8),
    bigEndian(entry.at_ms, 8),
    fromHex(entry.previous, 32),
    lengthAnd(entry.key),
    lengthAnd(entry.kind),
    lengthAnd(entry.note),
    bigEndian(entry.lines.length, 2),
  ];
  for (const { account, unit, amount } of entry.lines) {
    parts.push(lengthAnd(account), bigEndian(unit, 1), signed(amount));
  }
  return sha256(ENTRY_TAG, ...parts);
}

/** Leaf of a balance in a day's tree. */
export function hashBalance(account, unit, balance) {
  return sha256(BALANCE_TAG, lengthAnd(account), bigEndian(unit, 1), signed(balance));
}

/**
 * Root of a day, what is anchored on the chain.
 * @param {{ledger: string, day: number, first: number, entries: number, entries_root: string,
 *   balances: number, balances_root: string, head: string}} summary
 */
export function dayRoot(summary) {
  return sha256(
    DAY_TAG,
    fromHex(summary.ledger, 32),
    bigEndian(summary.day, 8),
    bigEndian(summary.first, 8),
    bigEndian(summary.entries, 8),
    fromHex(summary.entries_root, 32),
    bigEndian(summary.balances, 8),
    fromHex(summary.balances_root, 32),
    fromHex(summary.head, 32),
  );
}

/** Tell whether the lines of an entry add up to nothing in each unit. */
export function isBalanced(entry) {
  const sums = { [POINTS]: 0n, [TICKETS]: 0n };
  for (const { unit, amount } of entry.lines) sums[unit] += BigInt(amount);
  return Object.values(sums).every((sum) => sum === 0n);
}

/** Tell whether an entry is under the root of the day that `summary` describes. */
export async function isEntryUnder(summary, entry, path) {
  const index = entry.number - summary.first;
  if (index < 0 || index >= summary.entries) return false;
  const root = fromHex(summary.entries_root, 32);
  return leadsTo(root, await hashEntry(entry), index, summary.entries, fromHex(path.join("")));
}

/** Tell whether a balance is under the root of the day that `summary` describes. */
export async function isBalanceUnder(summary, { account, unit, balance, index }, path) {
  const root = fromHex(summary.balances_root, 32);
  const leaf = await hashBalance(account, unit, balance);
  return leadsTo(root, leaf, index, summary.balances, fromHex(path.join("")));
}

/** What the lines of `account` in `entries` add up to, in each unit. */
export function sumOf(entries, account) {
  const sums = { [POINTS]: 0, [TICKETS]: 0 };
  for (const entry of entries) {
    for (const line of entry.lines) {
      if (line.account === account) sums[line.unit] += line.amount;
    }
  }
  return sums;
}

/** Tell whether entries that follow each other in the books carry each other's hashes. */
export function areLinked(before, after) {
  return after.number !== before.number + 1 || after.previous === before.hash;
}

/** Tell whether `hash` is the one that the entry claims. */
export async function hasItsHash(entry) {
  return isEqual(await hashEntry(entry), fromHex(entry.hash, 32));
}

function lengthAnd(text) {
  if (!/^[ -~]*$/.test(text)) throw new TypeError("not printable ASCII");
  return join(bigEndian(text.length, 2), text);
}

function signed(value) {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is no such number`);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(value));
  return bytes;
}
