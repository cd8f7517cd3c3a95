/** Frames of one WebSocket, one after the other, each with a deadline. */

import { parseFrame } from "./wire.js";

/** Frames that may wait to be read; an honest service never has two under way. */
const MAX_WAITING = 16;

/** Why a session ended; `retryMs` is what the service asked for, 0 if nothing. */
export class Ended extends Error {
  /** @param {string} reason @param {{retryMs?: number, isFinal?: boolean}} [how] */
  constructor(reason, { retryMs = 0, isFinal = false } = {}) {
    super(reason);
    this.reason = reason;
    this.retryMs = retryMs;
    // No further attempt mends it: somebody has to decide.
    this.isFinal = isFinal;
  }
}

/** An open socket to the service, read by `next`. */
export class Frames {
  #socket;
  #waiting = [];
  #ended = null;
  #wake = null;

  /** @param {string} url @param {AbortSignal} signal ends it */
  constructor(url, signal) {
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = (event) => this.#take(event.data);
    this.#socket.onclose = () => this.#end(new Ended("the connection was lost"));
    this.#socket.onerror = () => this.#end(new Ended("the service cannot be reached"));
    const stop = () => {
      this.#waiting = [];
      this.#end(new Ended("stopped"));
    };
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  }

  /**
   * The next frame. One that ends the session is thrown.
   * @param {number} deadlineMs @returns {Promise<object>}
   * @throws {Ended}
   */
  async next(deadlineMs) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
    });
    try {
      while (!this.#waiting.length) {
        if (this.#ended) throw this.#ended;
        const woken = new Promise((resolve) => {
          this.#wake = () => resolve(true);
        });
        if (!(await Promise.race([woken, late]))) throw new Ended("the service fell silent");
      }
    } finally {
      clearTimeout(timer);
    }
    const frame = this.#waiting.shift();
    if (frame.t !== "refuse" && frame.t !== "bye") return frame;
    throw new Ended(frame.reason, { retryMs: frame.retry_ms, isFinal: frame.retry_ms === 0 });
  }

  /** @param {object} frame */
  send(frame) {
    if (this.#ended) throw this.#ended;
    this.#socket.send(JSON.stringify(frame));
  }

  close() {
    this.#end(new Ended("closed"));
  }

  #take(data) {
    if (this.#waiting.length >= MAX_WAITING) return this.#end(new Ended("the service floods"));
    try {
      this.#waiting.push(parseFrame(data));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return this.#end(new Ended(`the service sent something else: ${error.message}`));
    }
    this.#wake?.();
  }

  #end(reason) {
    if (!this.#ended) {
      this.#ended = reason;
      this.#socket.close();
    }
    this.#wake?.();
  }
}
