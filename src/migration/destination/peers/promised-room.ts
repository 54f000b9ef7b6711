/**
 * Room of the store that is promised to the sessions under way. What was promised to one is not given to
 * another, neither to one that is offered later nor to one that brings more than it said. A promise that nothing
 * comes of is not kept.
 */

import { freeBytes } from "../../../platform/files/filesystem.ts";
import { MigrateError } from "../../../protocol/errors.ts";

/** A session to which nothing came for so long holds no room, in milliseconds. */
const patienceMs = 60_000;
/** A session that brings more than it said is looked at again after so many bytes. */
const everyBytes = 64 * 1024 * 1024;

interface Promised {
  bytes: number;
  arrivedBytes: number;
  /** When it was promised, or something came last. */
  atMs: number;
  lookAtBytes: number;
}

export class PromisedRoom {
  readonly #nowMs: () => number;
  readonly #sessions = new Map<string, Promised>();

  /** `nowMs` is a monotonic clock. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Promises a session as much as its VM takes at its source, of which `arrivedBytes` are here. */
  promise(session: string, bytes: number, arrivedBytes: number): void {
    // A promise that is renewed is no licence to bring more.
    const before = this.#sessions.get(session)?.lookAtBytes ?? Number.POSITIVE_INFINITY;
    const lookAtBytes = Math.min(before, Math.max(bytes, arrivedBytes) + everyBytes);
    this.#sessions.set(session, { bytes, arrivedBytes, atMs: this.#nowMs(), lookAtBytes });
  }

  /**
   * Bytes came for a session. True if it has brought more than it said, so that it has to be looked at whether
   * they are taken from others.
   */
  arrived(session: string, bytes: number): boolean {
    const promised = this.#sessions.get(session);
    if (promised === undefined) return false;
    promised.arrivedBytes += bytes;
    promised.atMs = this.#nowMs();
    if (bytes === 0) return false;
    if (promised.arrivedBytes < promised.lookAtBytes) return false;
    promised.lookAtBytes = promised.arrivedBytes + everyBytes;
    return true;
  }

  /** The session is over, or its source is away. */
  release(session: string): void {
    this.#sessions.delete(session);
  }

  /** Bytes that are still to come for the sessions under way, but for this one. */
  owedToOthers(session: string): number {
    const nowMs = this.#nowMs();
    let owed = 0;
    for (const [other, { bytes, arrivedBytes, atMs }] of this.#sessions) {
      if (other !== session && nowMs - atMs <= patienceMs) owed += Math.max(0, bytes - arrivedBytes);
    }
    return owed;
  }
}

/** Throws MigrateError "no-room" if the store has less than that free, beside what is promised to other sessions. */
export function requireRoom(store: string, roomBytes: number, promisedBytes: number): void {
  const free = freeBytes(store);
  if (roomBytes <= free - promisedBytes) return;
  const others = promisedBytes > 0 ? `, of which other sessions will take ${promisedBytes}` : "";
  const said = `the VM needs ${roomBytes} bytes, the destination's store has ${free} free${others}`;
  throw new MigrateError("no-room", said, { side: "destination" });
}
