/**
 * How a source opens any of its connections, be it control, lane or stream: the way there, TLS and the pin,
 * HELLO, and the wait for WELCOME (SPEC.md, Transport and Greeting).
 */
import { MigrateError } from "../protocol/errors.ts";
import type { FrameName, Standing } from "../protocol/frames.ts";
import { deadlines, limits } from "../protocol/limits.ts";
import { decodeMessage, encodeMessage, type MessageBody } from "../protocol/messages.ts";
import { software } from "../protocol/software.ts";
import { type Address, addressText } from "./address.ts";
import { peerError } from "./control-link.ts";
import { callCancelled, dial } from "./dial.ts";
import type { FrameHandler, FrameSocket } from "./frame-socket.ts";
import type { Identity } from "./identity.ts";
import type { Credentials } from "./tls.ts";
import { wayTo } from "./transport/way.ts";
import { turnAway } from "./turn-away.ts";

export type Role = MessageBody<"hello">["role"];
export type Welcome = MessageBody<"welcome">;

/** Who is called. Data alone: it crosses to the Workers of lanes and streams. */
export interface Callee {
  address: Address;
  /** Who this host is, and the fingerprint that must answer; null on an insecure link. */
  tls: { credentials: Credentials; peer: string } | null;
}

export interface CallOptions {
  /**
   * What HELLO holds beside version, role and software; asked when it is sent, for each connection anew. `peer` is the
   * fingerprint of who has answered; null on an insecure link.
   */
  hello: (peer: string | null) => Omit<MessageBody<"hello">, "version" | "role" | "software">;
  /**
   * WELCOME has come. Returns what receives every frame from here on, and the end of the connection. What it
   * throws is wrong with the WELCOME: the destination is told, and the call rejects with it.
   */
  welcomed: (socket: FrameSocket, welcome: Welcome) => FrameHandler;
  /** Whether a host of this fingerprint may answer as well as the callee's. */
  mayAnswer?: (fingerprint: string) => boolean;
  /** The error about a host of this fingerprint that answered in the callee's place. */
  wrongPeer?: (fingerprint: string) => MigrateError;
  /** How often it is dialled again at once if the destination answers BUSY: another of its doors may take the call. */
  busyTries?: number;
  /** Deadline for connection and handshake, in milliseconds; WELCOME has `deadlines.helloMs` after that. */
  timeoutMs?: number;
  /** Gives the call up until WELCOME has come. */
  signal?: AbortSignal;
}

/** Which frames a destination may send on a connection of each role. */
const standings: Readonly<Record<Role, Standing>> = {
  control: "control",
  lane: "lane-source",
  stream: "stream-source",
};

/** The destination of `peer`'s fingerprint at this address; insecure if there is no identity. */
export function calleeOf(address: Address, identity: Identity | null, peer: string): Callee {
  if (identity === null) return { address, tls: null };
  // An Identity keeps its key from being copied to a Worker by chance: here it is meant to be.
  const { certificatePem, privateKeyPem } = identity;
  return { address, tls: { credentials: { certificatePem, privateKeyPem }, peer } };
}

/**
 * Opens a connection of this role, and resolves once WELCOME has come and `welcomed` has taken the connection
 * over. Rejects with MigrateError: what `dial` rejects with; "wrong-identity" if another
 * host answers; "network" if the destination hangs up or sends nothing in time; "protocol" or "version" for a
 * WELCOME that is none, or what `welcomed` throws; "cancelled"; and whatever the destination answers by ERROR,
 * as an error of its side.
 */
export async function call(callee: Callee, role: Role, options: CallOptions): Promise<void> {
  for (let busy = 0; ; busy++) {
    try {
      await callOnce(callee, role, options);
      return;
    } catch (thrown) {
      const isBusy = thrown instanceof MigrateError && thrown.code === "busy";
      if (!isBusy || busy >= (options.busyTries ?? 0)) throw thrown;
    }
  }
}

async function callOnce({ address, tls }: Callee, role: Role, options: CallOptions): Promise<void> {
  const place = addressText(address);
  const {
    signal,
    timeoutMs,
    mayAnswer = () => false,
    wrongPeer = (fingerprint) => anotherHost(place, fingerprint),
  } = options;
  if (signal?.aborted) throw callCancelled();
  const socket = await dial(wayTo(address), {
    place,
    credentials: tls?.credentials ?? null,
    standing: standings[role],
    checkPeer: (fingerprint) =>
      fingerprint === tls?.peer || mayAnswer(fingerprint) ? null : wrongPeer(fingerprint),
    timeoutMs,
    signal,
  });
  const welcome = Promise.withResolvers<void>();
  const giveUp = (error: MigrateError) => {
    welcome.reject(error);
    socket.destroy();
  };
  socket.handler = {
    frame: (name, payload) => {
      if (name === "ping") socket.answerPing();
      else if (name === "error") giveUp(answeredError(payload));
      else if (name !== "pong") {
        socket.handler = options.welcomed(socket, parseWelcome(name, payload));
        welcome.resolve();
      }
    },
    broken: (error) => {
      welcome.reject(error);
      turnAway(socket, error);
    },
    closed: (cause) => welcome.reject(hungUp(place, tls === null, cause)),
  };
  const cancel = () => giveUp(callCancelled());
  const late = setTimeout(() => giveUp(silent(place)), deadlines.helloMs);
  signal?.addEventListener("abort", cancel);
  try {
    const hello = { version: limits.version, role, software, ...options.hello(socket.peer) };
    socket.send(encodeMessage("hello", hello))?.catch(() => {});
    await welcome.promise;
  } finally {
    clearTimeout(late);
    signal?.removeEventListener("abort", cancel);
  }
}

function parseWelcome(name: FrameName, payload: Buffer): Welcome {
  if (name === "welcome") return decodeMessage("welcome", payload).body as Welcome;
  throw new MigrateError("protocol", `expected welcome, got ${name}`, { side: "destination" });
}

function answeredError(payload: Buffer): MigrateError {
  return peerError(decodeMessage("error", payload).body as MessageBody<"error">, "destination");
}

function anotherHost(place: string, fingerprint: string): MigrateError {
  return new MigrateError("wrong-identity", `another host answered at ${place}, with ${fingerprint}`);
}

function silent(place: string): MigrateError {
  return new MigrateError("network", `${place} accepted the connection and says nothing`);
}

/** A TLS server that receives plain bytes often just hangs up. */
function hungUp(place: string, isInsecure: boolean, cause: MigrateError | undefined): MigrateError {
  return new MigrateError("network", `${place} closed the connection before it said a word`, {
    cause,
    hint: isInsecure
      ? "does it serve without --insecure? Then this host must send without it, too"
      : undefined,
  });
}
