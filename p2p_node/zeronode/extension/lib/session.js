/**
 * One session with the service: greeting, hello, welcome, then challenges and beats until it ends.
 *
 * The service drives: it asks, this answers. Each challenge carries the service's signature, checked
 * against the key taken at the first visit, so that nobody else can make this key answer.
 */

import { isEqual, toHex } from "./bytes.js";
import { Ended, Frames } from "./frames.js";
import { sign, verify } from "./keys.js";
import { beatMessage, challengeMessage, helloMessage } from "./wire.js";

export const AGENT = "kaisar-zeronode/1.0.0";

/** For each step from the opening of the socket to the welcome. */
const OPENING_MS = 15_000;

/** Silence after which the connection counts as dead: a service asks at least every 22 s. */
const SILENCE_MS = 45_000;

/**
 * Run a session until it ends.
 * @param {{origin: string, key: import("./keys.js").DeviceKey, boot: Uint8Array,
 *   peer: import("./wire.js").Peer, signal: AbortSignal,
 *   onWelcome: (frame: object) => void, onCredit: (frame: object) => void}} session
 * @returns {Promise<never>}
 * @throws {Ended}
 */
export async function runSession({ origin, key, boot, peer, signal, onWelcome, onCredit }) {
  const frames = new Frames(`${origin.replace(/^http/, "ws")}/v1/beats`, signal);
  try {
    const greet = expect(await frames.next(OPENING_MS), "greet");
    if (!isEqual(greet.service, peer.service)) {
      throw new Ended("the service shows another key than before", { isFinal: true });
    }
    const hello = helloMessage(peer, greet.nonce, boot, key.public);
    frames.send({
      t: "hello",
      v: 1,
      key: key.hex,
      boot: toHex(boot),
      agent: AGENT,
      sig: await sign(key, hello),
    });
    const welcome = expect(await frames.next(OPENING_MS), "welcome");
    onWelcome(welcome);
    for (;;) {
      const frame = await frames.next(SILENCE_MS);
      if (frame.t === "credit") onCredit(frame);
      else frames.send(await answer(expect(frame, "challenge"), welcome.sid, key, boot, peer));
    }
  } finally {
    frames.close();
  }
}

async function answer({ sid, seq, nonce, sig }, session, key, boot, peer) {
  const asked = challengeMessage(peer, sid, seq, nonce, key.public);
  if (!isEqual(sid, session) || !(await verify(peer.service, asked, sig))) {
    throw new Ended("a challenge was not signed by the service");
  }
  const beat = beatMessage(peer, sid, seq, nonce, boot);
  return { t: "beat", sid: toHex(sid), seq, sig: await sign(key, beat) };
}

function expect(frame, kind) {
  if (frame.t !== kind) throw new Ended(`the service sent ${frame.t} instead of ${kind}`);
  return frame;
}
