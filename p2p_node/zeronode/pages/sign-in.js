/**
 * Sign-in: puts a wallet behind the key that the extension named after "#", a part of the address that
 * the browser keeps to itself. With it comes the key's own consent, which serves for ten minutes.
 */

import { buildMessage } from "./siwe.js";

const DEADLINE_MS = 15_000;

/** Wallets answer to this event at once; those without EIP-6963 are in window.ethereum. */
const ANNOUNCE_MS = 500;

/** Icons that wallets announce are data URIs; anything longer is left out. */
const MAX_ICON_CHARS = 100_000;
const MAX_WALLETS = 20;

const at = (id) => document.getElementById(id);
const fragment = new URLSearchParams(location.hash.slice(1));
const key = fragment.get("key") ?? "";
const consent = { nonce: fragment.get("nonce") ?? "", sig: fragment.get("consent") ?? "" };
const referral = fragment.get("ref") ?? "";
const buttons = [];

await start();

async function start() {
  if (!key && /^[0-9a-z]{10}$/i.test(referral)) return invite();
  const isWhole =
    /^[0-9a-f]{64}$/.test(key) &&
    /^[0-9a-f]{64}$/.test(consent.nonce) &&
    /^[0-9a-f]{128}$/.test(consent.sig) &&
    /^[0-9a-zA-Z]{0,32}$/.test(referral);
  if (!isWhole) {
    return tell("Open this page from the extension: its address lacks the key's consent.", "bad");
  }
  at("fingerprint").textContent = await fingerprint(key);
  if (referral) {
    at("referral").hidden = false;
    at("referral").textContent = `Invited by: ${referral}`;
  }
  const seen = new Set();
  const offer = (info, provider) => {
    if (seen.has(provider) || seen.size >= MAX_WALLETS) return;
    seen.add(provider);
    at("no-wallet").hidden = true;
    at("wallets").append(walletItem(info, provider));
  };
  window.addEventListener("eip6963:announceProvider", ({ detail }) => {
    offer(detail.info, detail.provider);
  });
  window.dispatchEvent(new Event("eip6963:requestProvider"));
  await new Promise((resolve) => setTimeout(resolve, ANNOUNCE_MS));
  if (!seen.size && window.ethereum) offer({ name: "Wallet of this browser" }, window.ethereum);
  at("no-wallet").hidden = seen.size > 0;
}

/** For who follows a referral link, and has no extension yet. */
function invite() {
  document.title = "You are invited to ZeroNode";
  at("title").textContent = "ZeroNode";
  at("invitation-service").textContent = location.origin;
  at("invitation-code").textContent = referral.toLowerCase();
  at("key-section").hidden = true;
  at("wallet-section").hidden = true;
  at("invitation").hidden = false;
}

/** As the popup shows it: eight groups of four digits of the key's SHA-256. */
async function fingerprint(hex) {
  const bytes = Uint8Array.from(hex.match(/../g), (pair) => Number.parseInt(pair, 16));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const digits = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.slice(0, 32).match(/.{4}/g).join(" ");
}

function walletItem(info, provider) {
  const button = document.createElement("button");
  button.type = "button";
  const icon = String(info.icon ?? "");
  if (icon.startsWith("data:image/") && icon.length < MAX_ICON_CHARS) {
    const image = document.createElement("img");
    Object.assign(image, { src: icon, alt: "", width: 24, height: 24 });
    button.append(image);
  }
  button.append(`Sign in with ${String(info.name).slice(0, 60)}`);
  button.addEventListener("click", () => signIn(provider));
  buttons.push(button);
  const item = document.createElement("li");
  item.append(button);
  return item;
}

async function signIn(provider) {
  for (const button of buttons) button.disabled = true;
  try {
    tell("Waiting for your wallet …");
    const [address] = await provider.request({ method: "eth_requestAccounts" });
    if (!/^0x[0-9a-fA-F]{40}$/.test(address ?? "")) throw new Error("the wallet named no account");
    const terms = await post("/v1/sign-in/nonce");
    const message = buildMessage(terms, address, key, referral);
    at("message").textContent = message;
    at("details").hidden = false;
    tell("Read the text in your wallet, and sign it.");
    const signature = await provider.request({
      method: "personal_sign",
      params: [toHex(message), address],
    });
    const { wallet, referral: taken } = await post("/v1/sign-in", {
      message,
      signature,
      consent,
    });
    const why = referral && taken !== "bound" ? ` The code was not taken: ${taken}.` : "";
    tell(`Done. This browser earns for ${wallet}.${why} You may close this page.`, "good");
  } catch (error) {
    // Wallets throw plain objects as well; 4001 is the code of a person who said no.
    const said = error?.code === 4001 ? "You did not sign." : error?.message;
    tell(`Not signed in. ${said ?? "The wallet gave no reason."}`, "bad");
    for (const button of buttons) button.disabled = false;
  }
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(DEADLINE_MS),
    credentials: "omit",
  });
  const answer = await response.json();
  if (!response.ok) throw new Error([answer.error, answer.detail].filter(Boolean).join(": "));
  return answer;
}

function toHex(text) {
  const bytes = new TextEncoder().encode(text);
  return `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function tell(text, how = "") {
  at("outcome").textContent = text;
  at("outcome").className = how;
}
