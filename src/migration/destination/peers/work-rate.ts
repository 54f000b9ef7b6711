/**
 * How fast one source is answered: each kind of request costs so much of this thread's time, which comes back
 * at a steady rate (a token bucket, as in RFC 2697). A source that asks more waits; the others do not.
 */
import type { Message } from "../../../protocol/messages.ts";

/** What a source may ask for: a message, an offer of a VM that runs, or a SEAL once more. */
export type Work = Message["name"] | "offer-running" | "seal-again";

/** The work that a message makes; `isReady` is true if its session is whole here already. Pure. */
export function workOf(message: Message, isReady = false): Work {
  if (message.name === "seal" && isReady) return "seal-again";
  if (message.name !== "offer" && message.name !== "ask") return message.name;
  return message.body.machine === undefined ? "offer" : "offer-running";
}

/**
 * About what a request takes of this thread, in milliseconds: looking things up, and writing durably. What moves
 * ownership on, and so adds to a downtime, costs nothing; it can be said once.
 */
const costsMs: Partial<Record<Work, number>> = {
  offer: 20,
  // A QEMU is started to be asked whether it can run the VM, one at a time.
  "offer-running": 400,
  seal: 10,
  // A proof is made from the disk, each time.
  "seal-again": 250,
  cancel: 10,
  start: 50,
  // The TPM does it, one at a time; a move needs three.
  challenge: 40,
  enrol: 100,
  activate: 40,
  attest: 40,
  fetch: 2,
  list: 10,
  query: 2,
  profile: 200,
};

/** Of each second a source may have so many milliseconds. */
const rateMs = 250;
/** What a source may have at once after a rest: the offers of a host that is emptied, say. */
const burstMs = 2000;
/** Sources that are remembered; a source that has been at rest is not. */
const mostSources = 4096;

/** Who waits for an answer. */
interface Asker {
  /** Calls the listener once it is gone, or at once; returns what takes the listener back. */
  onClosed(listener: () => void): () => void;
}

interface Clock {
  /** Monotonic. */
  nowMs(): number;
  /** Runs it once after so many milliseconds; returns what stops that. */
  after(ms: number, run: () => void): () => void;
}

const realClock: Clock = {
  nowMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export class WorkRate {
  readonly #clock: Clock;
  /** By source: when its work so far will have come back, on that clock. */
  readonly #paidAtMs = new Map<string, number>();

  constructor(clock: Clock = realClock) {
    this.#clock = clock;
  }

  /**
   * Resolves with true once it is this request's turn, or with false at once when its connection is gone: then it
   * costs nothing, and nothing of it is kept. So what a source has to wait for is bounded by its connections.
   */
  async turn(source: string, request: Work, asker: Asker): Promise<boolean> {
    const costMs = ((costsMs[request] ?? 0) * 1000) / rateMs;
    if (costMs === 0) return true;
    const waitMs = this.#charge(source, costMs);
    if (waitMs <= 0) return true;
    const turn = Promise.withResolvers<boolean>();
    const stop = this.#clock.after(waitMs, () => turn.resolve(true));
    const takeBack = asker.onClosed(() => turn.resolve(false));
    const isTurn = await turn.promise;
    stop();
    takeBack();
    if (!isTurn) this.#charge(source, -costMs);
    return isTurn;
  }

  /** Counts so many milliseconds more; returns how long the source is to wait for them. */
  #charge(source: string, costMs: number): number {
    const nowMs = this.#clock.nowMs();
    const paidAtMs = Math.max(nowMs, this.#paidAtMs.get(source) ?? 0) + costMs;
    this.#paidAtMs.delete(source);
    this.#paidAtMs.set(source, paidAtMs);
    if (this.#paidAtMs.size > mostSources) this.#forget(nowMs);
    return paidAtMs - nowMs - (burstMs * 1000) / rateMs;
  }

  #forget(nowMs: number): void {
    for (const [source, paidAtMs] of this.#paidAtMs) if (paidAtMs <= nowMs) this.#paidAtMs.delete(source);
    const [first] = this.#paidAtMs.keys();
    if (this.#paidAtMs.size > mostSources) this.#paidAtMs.delete(first!);
  }
}
