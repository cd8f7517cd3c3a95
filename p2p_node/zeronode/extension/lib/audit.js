/**
 * "Check my ledger": fetches all of one's own entries with their proofs and recomputes everything here.
 *
 * What is shown is what was computed. A root alone is the service's word; that the same root stands on
 * the chain is for `kaisar zeronode ledger prove` or any reader of the chain to see, so it is listed.
 */

import { toHex } from "./bytes.js";
import { formatCount, formatPoints } from "./format.js";
import {
  areLinked,
  dayRoot,
  hasItsHash,
  isBalanced,
  isBalanceUnder,
  isEntryUnder,
  ledgerId,
  POINTS,
  sumOf,
  TICKETS,
} from "./ledger.js";
import { ServiceError } from "./service.js";

const PAGE = 100;

/** Entries that are fetched at most: some twenty years of one account. */
const MAX_ENTRIES = 50_000;

/**
 * @typedef {{state: "good"|"bad"|"open", text: string}} Finding
 * @typedef {{root: string, summary: object, path: string[]}} Proof
 * @typedef {{entries: import("./ledger.js").Entry[], proofs: (Proof|null)[],
 *   balances: {day: number, points: Proof|null, tickets: Proof|null}|null,
 *   anchored: {root: string}|null}} Books all of an account's entries, oldest first; the proof of each,
 *   null while its day is open; the balances at the last closed day; and its root on the chain
 */

/** Fetch everything. @param {import("./service.js").Caller} caller @returns {Promise<Books>} */
export async function fetchBooks(caller) {
  const entries = [];
  const proofs = [];
  for (let after = 0; entries.length < MAX_ENTRIES; ) {
    const page = await caller.call("GET", `/v1/account/ledger?after=${after}&limit=${PAGE}`);
    if (!page.entries.length) break;
    entries.push(...page.entries);
    proofs.push(...page.proofs);
    const last = page.entries.at(-1).number;
    if (last <= after) throw new ServiceError("the service turns in circles");
    after = last;
  }
  const balances = await orNothing(caller.call("GET", "/v1/account/proof"));
  const day = balances && (await orNothing(caller.call("GET", `/v1/days/${balances.day}`)));
  return { entries, proofs, balances, anchored: day?.anchored ?? null };
}

async function orNothing(asking) {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof ServiceError && error.status === 404) return null;
    throw error;
  }
}

/**
 * Recompute everything.
 * @param {Books} books @param {object} standing what the popup shows
 * @param {import("./wire.js").Peer} peer
 * @returns {Promise<Finding[]>}
 */
export async function checkBooks({ entries, proofs, balances, anchored }, standing, peer) {
  const account = `user:${standing.wallet}`;
  const ledger = toHex(await ledgerId(peer));
  const all = [...proofs, balances?.points, balances?.tickets].filter(Boolean);
  return [
    checkSums(entries),
    await checkHashes(entries, ledger),
    await checkDays(all, ledger),
    ...(await checkPlaces(entries, proofs, all)),
    ...(await checkBalances(entries, balances, account, closedUntil(all))),
    ...checkAnchor(balances, anchored),
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
    const isFirst = entry.number === 1 && entry.previous !== ledger;
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

async function checkDays(proofs, ledger) {
  const roots = new Map();
  const wrong = new Set();
  for (const { root, summary } of proofs) {
    const isOther = roots.has(summary.day) && roots.get(summary.day) !== root;
    roots.set(summary.day, root);
    if (isOther || summary.ledger !== ledger || toHex(await dayRoot(summary)) !== root) {
      wrong.add(summary.day);
    }
  }
  return finding(
    [...wrong],
    `${formatCount(roots.size, "day")}: each root binds what the service says of the day`,
    `another root than the day gives: day ${[...wrong].join(", ")}`,
  );
}

/** Number of the first entry after all days that are known to be closed. */
function closedUntil(proofs) {
  return Math.max(0, ...proofs.map(({ summary }) => summary.first + summary.entries));
}

async function checkPlaces(entries, proofs, all) {
  const wrong = [];
  const end = closedUntil(all);
  let open = 0;
  for (const [index, entry] of entries.entries()) {
    const proof = proofs[index];
    if (!proof && entry.number < end) wrong.push(entry);
    else if (!proof) open += 1;
    else if (!(await isEntryUnder(proof.summary, entry, proof.path))) wrong.push(entry);
  }
  const found = [
    finding(
      wrong,
      `${entries.length - open} of them are in the tree of their day, each at its place`,
      `not in the tree of their day: ${numbers(wrong)}`,
    ),
  ];
  if (open) found.push({ state: "open", text: `${open} newer than the last closed day` });
  return found;
}

async function checkBalances(entries, balances, account, end) {
  if (!balances && end) return [{ state: "bad", text: "the service proves no balance" }];
  if (!balances) return [{ state: "open", text: "no day has been closed yet" }];
  const closed = sumOf(
    entries.filter((entry) => entry.number < end),
    account,
  );
  const found = [];
  for (const [unit, proof] of [
    [POINTS, balances.points],
    [TICKETS, balances.tickets],
  ]) {
    if (proof) found.push(await checkBalance(entries, unit, proof, account));
    else if (closed[unit]) {
      found.push({ state: "bad", text: `the service does not prove ${formatAmount(unit, closed[unit])}` });
    }
  }
  return found;
}

async function checkBalance(entries, unit, { root, summary, path, balance }, account) {
  const until = entries.filter((entry) => entry.number < summary.first + summary.entries);
  const isRight =
    balance.account === account &&
    balance.unit === unit &&
    balance.balance === sumOf(until, account)[unit] &&
    (await isBalanceUnder(summary, balance, path));
  const what = `${formatAmount(unit, balance.balance)} at the end of day ${summary.day}`;
  return isRight
    ? { state: "good", text: `${what}: the sum of your entries, and under its root ${shorten(root)}` }
    : { state: "bad", text: `${what}: not what your entries and the root say` };
}

function checkAnchor(balances, anchored) {
  const proof = balances?.points ?? balances?.tickets;
  if (!proof) return [];
  if (!anchored) return [{ state: "open", text: "that root has not been seen on the chain yet" }];
  return anchored.root === proof.root
    ? [{ state: "good", text: "that root stands on the chain, says the service" }]
    : [{ state: "bad", text: `another root stands on the chain: ${shorten(anchored.root)}` }];
}

function checkTotals(entries, standing, account) {
  const sums = sumOf(entries, account);
  const isRight =
    sums[POINTS] === standing.points_units && sums[TICKETS] === standing.tickets;
  const text = [POINTS, TICKETS].map((unit) => formatAmount(unit, sums[unit])).join(" and ");
  return {
    state: isRight ? "good" : "bad",
    text: isRight
      ? `your entries add up to ${text}, as shown`
      : `your entries add up to ${text}, but the service says ${formatPoints(standing.points_units)} and ${standing.tickets}`,
  };
}

function formatAmount(unit, amount) {
  return unit === POINTS ? `${formatPoints(amount)} points` : formatCount(amount, "ticket");
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
