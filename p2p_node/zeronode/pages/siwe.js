/** The text that a wallet signs: EIP-4361 in the one form that the service accepts. */

import { keccak256 } from "./keccak.js";

const KEY_RESOURCE = "urn:kaisar:zeronode:key:";
const REFERRAL_RESOURCE = "urn:kaisar:zeronode:referral:";

/** @param {string} address 0x and 40 hex digits @returns {string} with its checksum (EIP-55) */
export function withChecksum(address) {
  const digits = address.slice(2).toLowerCase();
  const digest = keccak256(new TextEncoder().encode(digits));
  const nibble = (index) => (digest[index >> 1] >> (index & 1 ? 0 : 4)) & 15;
  return `0x${[...digits].map((digit, index) => (nibble(index) >= 8 ? digit.toUpperCase() : digit)).join("")}`;
}

/**
 * @param {{nonce: string, domain: string, uri: string, chain_id: number, statement: string,
 *   issued_at: string, expires_at: string}} terms what the service asks for
 * @param {string} address @param {string} key 64 hex digits @param {string} referral may be empty
 */
export function buildMessage(terms, address, key, referral) {
  const lines = [
    `${terms.domain} wants you to sign in with your Ethereum account:`,
    withChecksum(address),
    "",
    terms.statement,
    "",
    `URI: ${terms.uri}`,
    "Version: 1",
    `Chain ID: ${terms.chain_id}`,
    `Nonce: ${terms.nonce}`,
    `Issued At: ${terms.issued_at}`,
    `Expiration Time: ${terms.expires_at}`,
    "Resources:",
    `- ${KEY_RESOURCE}${key}`,
  ];
  if (referral) lines.push(`- ${REFERRAL_RESOURCE}${referral}`);
  return lines.join("\n");
}
