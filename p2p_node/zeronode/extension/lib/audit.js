/**
 * "Check my ledger": fetches all of one's own entries with their proofs and recomputes everything here.
 *
 * What is shown is what was computed. A root alone is the service's word; that the same root stands on
 * the chain is for `kaisar zeronode ledger prove` or any reader of the chain to see, so it is listed.
 */

import { fromHex, isEqual, toHex } from "./bytes.js";
import { formatCount, formatPoints } from "./format.js";
import {
  areLinked,
  dayRoot,
  hasItsHash,
  isBalanced,
  isBalanceUnder,
  isEntryUnder,
  ledgerId,
  sumOf,
} from "./ledger.js";

const PAGE = 100;

/** Entries that are fetched at most: some twenty years of one account. */
const MAX_ENTRIES = 50_000;

/** @typedef {{state: "good"|"bad"|"open", text: string}} Finding */

/**
 * Fetch all entries of the account, oldest first, and the days that they are under.
 * @param {import("./service.js").Caller} caller
 * @returns {Promise<{entries: object[], days: Map<number, object>}>}
 */
export async function fetchLedger(caller) {
  const entries = [];
  const days = new Map();
  for (let after = 0; entries.length < MAX_ENTRIES; ) {
    const path = `/v1/account/ledger?after=${after}&limit=${PAGE}`;
    const page = await caller.call("GET", path);
    for (const day of page.days) days.set(day.day, day);
    entries.push(...page.entries);
    if (!page.entries.length) break;
    const last = page.entries.at(-1).number;
    if (last <= after) throw new TypeError("the service turns in circles");
    after = last;
  }
  return { entries, days };
}

/**
 * Recompute everything.
 * @param {{entries: object[], days: Map<number, object>}} books of `fetchLedger`
 * @param {object|null} proof of the balances at the end of the newest closed day
 * @param {object} standing what the popup shows
 * @param {import("./wire.js").Peer} peer
 * @returns {Promise<Finding[]>}
 */
export async function checkLedger({ entries, days }, proof, standing, peer) {
  const account = `user:${standing.wallet}`;
  return [
    checkSums(entries),
    await checkHashes(entries, await ledgerId(peer)),
    await checkDays(days, peer),
    ...(await checkPlaces(entries, days)),
    ...(await checkBalances(entries, days, proof, account)),
    checkTotals(entries, standing, account),
  ];
}

function checkSums(entries) {
  const wrong = entries.filter((entry) => !isBalanced(entry));
  return finding(
    wrong,
    `${formatCount(entries.length, "entry").replace("entrys", "entries")}: what each takes and gives adds up to nothing`,
    `does not add up to nothing: ${numbers(wrong)}`,
  );
}

async function checkHashes(entries, ledger) {
  const wrong = [];
  for (const [index, entry] of entries.entries()) {
    const isFirst = entry.number === 1 && entry.previous !== toHex(ledger);
    const before = entries[index - 1];
    const isLoose = before && (entry.number <= before.number || !areLinked(before, entry));
    if (isFirst || isLoose || !(await hasItsHash(entry))) wrong.push(entry);
  }
  return finding(
    wrong,
    "every entry has the hash that its content gives, and follows the one before",
    `another hash than the content gives: ${numbers(wrong)}`,
  );
}

async function checkDays(days, peer) {
  const ledger = toHex(await ledgerId(peer));
  const wrong = [];
  for (const day of days.values()) {
    const root = await dayRoot(day);
    if (day.ledger !== ledger || !isEqual(root, fromHex(day.root, 32))) wrong.push(day);
  }
  return finding(
    wrong,
    `${formatCount(days.size, "day")}: each root binds what the service says of the day`,
    `another root than the day gives: ${wrong.map(({ day }) => day).join(", ")}`,
  );
}

async function checkPlaces(entries, days) {
  const wrong = [];
  let closed = 0;
  for (const entry of entries) {
    const day = days.get(entry.day);
    if (!day) continue;
    closed += 1;
    if (!(await isEntryUnder(day, entry, entry.path))) wrong.push(entry);
  }
  const open = entries.length - closed;
  const found = [
    finding(
      wrong,
      `${closed} of them are in the tree of their day, each at its place`,
      `not in the tree of their day: ${numbers(wrong)}`,
    ),
  ];
  if (open) found.push({ state: "open", text: `${open} newer than the last closed day` });
  return found;
}

async function checkBalances(entries, days, proof, account) {
  if (!proof) return [{ state: "open", text: "no day has been closed yet with an entry of yours" }];
  const { day } = proof;
  const root = toHex(await dayRoot(day));
  const isKnown = root === day.root && root === days.get(day.day)?.root;
  const sums = sumOf(
    entries.filter((entry) => entry.number < day.first + day.entries),
    account,
  );
  const found = [];
  for (const balance of proof.balances) {
    const isRight =
      isKnown &&
      balance.account === account &&
      balance.balance === sums[balance.unit] &&
      (await isBalanceUnder(day, balance));
    const amount =
      balance.unit === "points"
        ? `${formatPoints(balance.balance)} points`
        : formatCount(balance.balance, "ticket");
    found.push({
      state: isRight ? "good" : "bad",
      text: isRight
        ? `${amount} at the end of day ${day.day}: the sum of your entries, and under the root ${shorten(root)}`
        : `${amount} at the end of day ${day.day} is not what your entries and the root say`,
    });
  }
  return found;
}

function checkTotals(entries, standing, account) {
  const sums = sumOf(entries, account);
  const isRight = sums.points === standing.points_units && sums.tickets === standing.tickets;
  const text = `${formatPoints(sums.points)} points and ${formatCount(sums.tickets, "ticket")}`;
  return {
    state: isRight ? "good" : "bad",
    text: isRight
      ? `your entries add up to ${text}, as shown`
      : `your entries add up to ${text}, but the service says ${formatPoints(standing.points_units)} and ${standing.tickets}`,
  };
}

function finding(wrong, good, bad) {
  return wrong.length ? { state: "bad", text: bad } : { state: "good", text: good };
}

function numbers(entries) {
  const shown = entries.slice(0, 5).map((entry) => `no. ${entry.number}`);
  return shown.join(", ") + (entries.length > 5 ? ` and ${entries.length - 5} more` : "");
}

function shorten(digest) {
  return `${digest.slice(0, 8)}…${digest.slice(-8)}`;
}
