/**
 * How long a session may hold a name and a place without anything coming for it. Only a session that is
 * `receiving` expires: its VM is still its source's, and nothing is lost but what was sent. One that is `ready`,
 * or further, is never dropped because time went by.
 */
import type { SessionRecord } from "../../journal/journal.ts";
import { type PromisedRoom, requireRoom } from "./promised-room.ts";

/** In milliseconds. */
export const leases = {
  /** Of a session that holds nothing and whose source is away: 15 minutes. */
  emptyMs: 15 * 60_000,
  /** Of a session whose VM runs at its source, which is connected: 6 hours. */
  runningMs: 6 * 3_600_000,
  /** Of any other: three days, a weekend included. */
  heldMs: 3 * 24 * 3_600_000,
} as const;

export interface LeasedSession extends Pick<SessionRecord, "state" | "doneBytes"> {
  /** When something came for it last, or when it began, in Unix time. */
  progressAtMs: number;
  isConnected: boolean;
  isRunning: boolean;
}

/** What one session holds at this destination: its place, and room in the store. */
export class SessionLease {
  readonly #session: string;
  readonly #room: PromisedRoom;
  readonly #now: () => number;
  /** When something came for it last, in Unix time; undefined if nothing did since this process began. */
  #progressAtMs: number | undefined;
  /** What the VM takes of the store, as it was checked last; undefined before that. */
  #roomBytes: number | undefined;

  constructor(session: string, { room, now }: { room: PromisedRoom; now: () => number }) {
    this.#session = session;
    this.#room = room;
    this.#now = now;
  }

  /** The VM's first offer was let in: it takes so many bytes of the store, which has them. */
  checked(bytes: number): void {
    this.#roomBytes = bytes;
  }

  /**
   * The VM is offered again, and takes `bytes`, of which `heldBytes` are here. If it says more than before, or has brought
   * more than it said, it is not to take what others were promised: throws MigrateError "no-room".
   */
  recheck(bytes: number, heldBytes: number, store: string): void {
    const before = this.#roomBytes ?? -1;
    if (bytes > before || heldBytes > bytes)
      requireRoom(store, Math.max(0, bytes - heldBytes), this.#room.owedToOthers(this.#session));
    this.#roomBytes = bytes;
  }

  /** The VM was accepted, as it was checked. */
  accepted(record: SessionRecord, heldBytes: number): void {
    this.#progressAtMs ??= record.updatedAtMs;
    this.#room.promise(this.#session, this.#roomBytes ?? 0, heldBytes);
  }

  /**
   * Bytes of the VM came, on lanes or on streams. True if it takes more than it was promised, and `isShortBeside`
   * says that the disk does not have as much as others are to have.
   */
  isTooMuch(bytes: number, isShortBeside: (owedBytes: number) => boolean): boolean {
    this.#progressAtMs = this.#now();
    if (!this.#room.arrived(this.#session, bytes)) return false;
    const owedBytes = this.#room.owedToOthers(this.#session);
    return owedBytes > 0 && isShortBeside(owedBytes);
  }

  /** The source is away, or the session over: no room is kept. */
  leave(): void {
    this.#room.release(this.#session);
  }

  /** True if nothing has come for the session for too long. */
  isExpired(record: SessionRecord, how: { isConnected: boolean; isRunning: boolean }): boolean {
    if (record.endedAtMs !== null) return false;
    const progressAtMs = this.#progressAtMs ?? record.updatedAtMs;
    return isExpired({ ...record, ...how, progressAtMs }, this.#now());
  }
}

/** True if the session has held its place for too long without progress. Pure. */
export function isExpired(session: LeasedSession, nowMs: number): boolean {
  if (session.state !== "receiving") return false;
  const idleMs = nowMs - session.progressAtMs;
  if (session.isRunning && session.isConnected) return idleMs > leases.runningMs;
  if (session.doneBytes === 0 && !session.isConnected) return idleMs > leases.emptyMs;
  return idleMs > leases.heldMs;
}
