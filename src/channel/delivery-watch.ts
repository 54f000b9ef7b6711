/**
 * Whether what is sent on a connection arrives. A connection can be heard and carry nothing: where a path swallows
 * large packets, what is small still passes. And one that is heard of only once a minute may be slow and well. So what
 * counts is not what comes but what goes: bytes that the kernel gets rid of (tcp(7), TCP_INFO), or an answer that can
 * only have followed on them.
 */
import { MigrateError } from "../protocol/errors.ts";
import type { FrameSocket } from "./frame-socket.ts";

/** On a lane or a stream, what is sent may go so many silences without any of it arriving. */
const silences = 3;

/** Heartbeats of a connection between two looks are fewer bytes than this, with TLS and all: that they arrive says little. */
const heartbeatBytes = 128;

/** How long nothing may arrive on a lane or a stream, in milliseconds, where a peer may be silent for `silenceMs`. */
export function undeliveredMs(silenceMs: number): number {
  return silences * silenceMs;
}

export interface DeliveryOptions {
  /** How long nothing may arrive of what waits, in milliseconds; see `undeliveredMs`. */
  limitMs: number;
  /** A peer that has no room for more is waited for: what it does with what it has is for others to judge. */
  waitsForRoom: boolean;
}

export class DeliveryWatch {
  readonly #link: FrameSocket;
  readonly #options: DeliveryOptions;
  #arrivedBytes = 0;
  #movedAtMs: number;
  /** Everything had been acknowledged by the other host's kernel once since then. */
  #hasArrived = false;

  /** Watches one connection, from now on. `nowMs` is monotonic here and below. */
  constructor(link: FrameSocket, options: DeliveryOptions, nowMs = performance.now()) {
    this.#link = link;
    this.#options = options;
    this.#movedAtMs = nowMs;
  }

  /** The peer has said what it can only say after something of ours has arrived. */
  answered(nowMs = performance.now()): void {
    this.#movedAtMs = nowMs;
  }

  /** When something arrived last, or nothing was to. */
  get movedAtMs(): number {
    return this.#movedAtMs;
  }

  /**
   * Looks again; to be called several times within a silence. `isAwaited` is true while an answer is due to something
   * that was sent. Returns MigrateError "network", with a hint, if nothing has arrived for too long; otherwise null.
   */
  look(isAwaited: boolean, nowMs = performance.now()): MigrateError | null {
    const { sending, untakenBytes, takenBytes } = this.#link;
    // Of a socket that the kernel tells nothing of, what it took is the next best.
    const arrivedBytes = sending?.acknowledgedBytes ?? takenBytes;
    const isUnderway = sending?.isUnderway ?? untakenBytes > 0;
    const isStuck = isUnderway || untakenBytes + (sending?.waitingBytes ?? 0) > 0;
    // Where no answer is due, anything that arrives shows that all before it has.
    const hasMoved = arrivedBytes - this.#arrivedBytes > (isAwaited ? heartbeatBytes : 0);
    this.#arrivedBytes = arrivedBytes;
    const hasNoRoom = sending !== null && !isUnderway && sending.waitingBytes > 0;
    const isWell = hasMoved || !(isAwaited || isStuck) || (hasNoRoom && this.#options.waitsForRoom);
    if (isWell) this.#movedAtMs = nowMs;
    this.#hasArrived = !isWell && (this.#hasArrived || !isStuck || hasNoRoom);
    const stillMs = nowMs - this.#movedAtMs;
    if (stillMs <= this.#options.limitMs) return null;
    return undelivered(this.#link.remoteAddress, Math.round(stillMs / 1000), this.#hasArrived);
  }
}

/** Why a connection is dead; with `hasArrived` the other host's kernel has all that was sent. */
function undelivered(host: string, seconds: number, hasArrived: boolean): MigrateError {
  return hasArrived
    ? new MigrateError(
        "network",
        `the link to ${host} takes data and nobody there answers it: nothing was acknowledged for ${seconds} s`,
        {
          hint: "something on the way swallows it (a proxy, a tunnel, a firewall), or the destination's disk stands still: look at both",
        },
      )
    : lostOnTheWay(host, seconds);
}

/** The connection stands, and what is sent on it is lost on the way: MigrateError "network", with a hint. */
export function lostOnTheWay(host: string, seconds: number): MigrateError {
  return new MigrateError(
    "network",
    `the link to ${host} takes small messages but no data: nothing of what was sent has arrived for ${seconds} s (the MTU?)`,
    {
      hint: `large packets are lost on the way, as where the path's MTU is smaller than that of this host and ICMP is filtered: try ping -M do -s 1472 ${host}, and lower the MTU here (ip link set dev DEVICE mtu 1280) or set net.ipv4.tcp_mtu_probing=1`,
    },
  );
}
