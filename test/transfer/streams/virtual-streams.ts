/**
 * Streams in virtual time: programs, the threads that carry them, one link and a destination, with nothing in it
 * that reads a clock. What a setting takes is exact, so tests may compare it closely.
 */
import { frameTypes } from "../../../src/protocol/frames.ts";
import type { Compression } from "../../../src/transfer/compression/compression.ts";
import { StreamCompressor } from "../../../src/transfer/streams/stream-compressor.ts";
import { bytesOf, type StreamFrame, StreamOutbox } from "../../../src/transfer/streams/stream-outbox.ts";
import { data, type Kind } from "../compression/virtual-lane.ts";

const mebibyte = 1024 * 1024;
const kinds = Object.keys(data) as Kind[];
/** What a unix socket holds, and what QEMU writes at a time. */
const socketBytes = 208 * 1024;
const writeBytes = 32 * 1024;
const scratch = Buffer.alloc(mebibyte);
const bodies = kinds.map((_, i) => Buffer.alloc(socketBytes, i));
const never = Infinity;
/** A destination acknowledges so much at once, and less after a moment. */
const ack = { bytes: mebibyte, ms: 2 };
/** Milliseconds for 1 MiB: to read and tag it, to encrypt and write it, to decompress it. */
const workMs = { read: 0.3, write: 0.5, unpack: 0.69 } as const;

export interface VirtualProgram {
  /** What it says first, second and so on, and how fast: by default faster than it can be taken. */
  says: readonly { mebibytes: number; mebibytesPerSec?: number }[];
  kind: Kind;
  /** It waits for its counterpart while so much is on its way there. */
  mostUnderWayBytes?: number;
  opensAtMs?: number;
  /** The stream fails then. */
  closesAtMs?: number;
  /** Nothing arrives for so long, and then another connection carries the stream. */
  cut?: { atMs: number; forMs: number };
}

export interface VirtualWay {
  /** The link's rate by the time. */
  mbitPerSec: (atMs: number) => number;
  rttMs?: number;
  /** What the destination takes for 1 MiB, beside decompressing it. */
  destinationMsPerMiB?: number;
}

export interface Carried {
  /** When everything was acknowledged. */
  ms: number;
  /** What was read at once of a program; level 0 is as it is. */
  pieces: { stream: number; atMs: number; bytes: number; level: number }[];
}

/** Carries what all these programs say, on one thread. */
export function carry(setting: Compression, programs: readonly VirtualProgram[], way: VirtualWay): Carried {
  const { mbitPerSec, rttMs = 0.2, destinationMsPerMiB = 0.7 } = way;
  const carried: Carried = { ms: 0, pieces: [] };
  const steps: { atMs: number; order: number; isThread: boolean; act: () => void }[] = [];
  let [nowMs, threadFreeMs, linkFreeMs, destinationFreeMs, usedLevel, orders] = [0, 0, 0, 0, 0, 0];
  const engine = (body: Buffer, level: number) => {
    const costs: Readonly<Record<number, readonly [part: number, ms: number]>> = data[kinds[body[0]!]!];
    const [part, ms] = costs[level]!;
    nowMs += 0.02 + (ms * body.length) / mebibyte;
    usedLevel = level;
    return scratch.subarray(0, Math.ceil(part * body.length));
  };
  const tools = { nowMs: () => nowMs, engine, mostLevel: 9, idleShare: () => 1 };
  const compressor = new StreamCompressor(setting, tools);
  const at = (atMs: number, act: () => void, isThread = false, order = orders++) => {
    const isLater = (step: (typeof steps)[0]) =>
      step.atMs > atMs || (step.atMs === atMs && step.order > order);
    let place = steps.length;
    while (place > 0 && isLater(steps[place - 1]!)) place--;
    if (atMs !== never) steps.splice(place, 0, { atMs, order, isThread, act });
  };
  /** As soon after that as the thread is free. */
  const threadAt = (atMs: number, act: () => void) => at(atMs, act, true);

  for (const [stream, program] of programs.entries()) {
    const { says, kind, cut } = program;
    const body = bodies[kinds.indexOf(kind)]!;
    const totalBytes = says.reduce((sum, { mebibytes }) => sum + mebibytes * mebibyte, 0);
    const outbox = new StreamOutbox(stream, Buffer.alloc(16), compressor.stream());
    let [writtenBytes, readBytes, handedOnBytes, toldBytes] = [0, 0, 0, 0];
    let [isBlocked, isReading, isAckDue, isClosed] = [false, false, false, false];
    /** Another one for each connection, and null while there is none. */
    let link: object | null = {};

    const msPerByte = () => {
      let fromBytes = writtenBytes;
      for (const { mebibytes, mebibytesPerSec = 2000 } of says) {
        fromBytes -= mebibytes * mebibyte;
        if (fromBytes < 0) return 1000 / (mebibytesPerSec * mebibyte);
      }
      return 0;
    };
    const write = () => {
      const bytes = Math.min(writeBytes, totalBytes - writtenBytes);
      isBlocked =
        writtenBytes - readBytes + bytes > socketBytes ||
        writtenBytes - handedOnBytes + bytes > (program.mostUnderWayBytes ?? Infinity);
      if (isBlocked || bytes === 0) return;
      const ms = msPerByte() * bytes;
      writtenBytes += bytes;
      wake();
      at(nowMs + ms, write);
    };
    const unblock = () => {
      if (isBlocked) at(nowMs, write);
      isBlocked = false;
    };
    const wake = () => {
      if (isReading || readBytes === writtenBytes || !outbox.hasRoom) return;
      isReading = true;
      threadAt(nowMs, read);
    };
    const read = () => {
      isReading = false;
      if (isClosed) return;
      const bytes = writtenBytes - readBytes;
      readBytes = writtenBytes;
      const atMs = nowMs;
      nowMs += 0.02 + (workMs.read * bytes) / mebibyte;
      const frame = outbox.add(body.subarray(0, bytes));
      carried.pieces.push({ stream, atMs, bytes, level: isZstd(frame) ? usedLevel : 0 });
      send(frame, bytes);
      outbox.worked();
      unblock();
      wake();
    };
    const send = (frame: StreamFrame, bytes: number) => {
      const carrying = link;
      if (carrying === null) return;
      nowMs += (workMs.write * bytesOf(frame)) / mebibyte;
      linkFreeMs = Math.max(linkFreeMs, nowMs) + bytesOf(frame) / (mbitPerSec(nowMs) * 125);
      const takesMs = (bytes / mebibyte) * (destinationMsPerMiB + (isZstd(frame) ? workMs.unpack : 0));
      destinationFreeMs = Math.max(destinationFreeMs, linkFreeMs + rttMs / 2) + takesMs;
      at(destinationFreeMs, () => {
        if (link !== carrying) return;
        handedOnBytes = frame.end;
        unblock();
        if (handedOnBytes - toldBytes >= ack.bytes) return acknowledge();
        if (!isAckDue) at(nowMs + ack.ms, acknowledge);
        isAckDue = true;
      });
    };
    const acknowledge = () => {
      isAckDue = false;
      const [carrying, received] = [link, handedOnBytes];
      if (carrying === null || received === toldBytes) return;
      toldBytes = received;
      threadAt(nowMs + rttMs / 2, () => {
        if (link !== carrying) return;
        nowMs += 0.01;
        outbox.acknowledge(received);
        carried.ms = nowMs;
        wake();
      });
    };
    const carryOn = () => {
      link = {};
      toldBytes = handedOnBytes;
      outbox.acknowledge(handedOnBytes);
      let fromBytes = handedOnBytes;
      for (const frame of outbox.begin()) {
        send(frame, frame.end - fromBytes);
        fromBytes = frame.end;
      }
      wake();
    };
    threadAt(program.opensAtMs ?? 0, () => {
      outbox.begin();
      write();
    });
    at(cut?.atMs ?? never, () => {
      link = null;
    });
    if (cut) threadAt(cut.atMs + cut.forMs, carryOn);
    threadAt(program.closesAtMs ?? never, () => {
      link = null;
      isClosed = true;
      outbox.close();
    });
  }
  for (let step = steps.shift(); step; step = steps.shift()) {
    const { atMs, order, isThread, act } = step;
    if (isThread && threadFreeMs > atMs) {
      at(threadFreeMs, act, true, order);
      continue;
    }
    nowMs = atMs;
    act();
    if (isThread) threadFreeMs = nowMs;
  }
  return carried;
}

function isZstd({ head }: StreamFrame): boolean {
  return head.readUInt8(4) === frameTypes.dataZstd;
}
