/** A lane of the source against a destination that the test plays, over plain TCP. */
import { closeSync, openSync } from "node:fs";
import type { Socket, TCPSocketListener } from "bun";
import { SharedPacer } from "../../../src/channel/shared-pacer.ts";
import { FrameDecoder } from "../../../src/protocol/frames.ts";
import { deadlines, limits } from "../../../src/protocol/limits.ts";
import { encodeMessage } from "../../../src/protocol/messages.ts";
import { type Chunk, parseChunk } from "../../../src/transfer/chunks/chunk.ts";
import type { ReadReceived } from "../../../src/transfer/chunks/shortened-body.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import type { Compression } from "../../../src/transfer/compression/compression.ts";
import type { FromLane } from "../../../src/transfer/lanes/lane-messages.ts";
import { LaneSender } from "../../../src/transfer/lanes/lane-sender.ts";
import { WorkQueue } from "../../../src/transfer/lanes/work-queue.ts";
import { type Description, parseDescribe } from "../../../src/transfer/reuse/store/describe.ts";

const { tagBytes } = limits;

export const laneKey: Buffer = Buffer.alloc(16, 3);
export const laneIndexKey: Buffer = Buffer.alloc(16, 9);
export const laneWelcome: Buffer = encodeMessage("welcome", {
  version: limits.version,
  software: "test",
  trusted: true,
});

/** What a source said on its lane. */
export type Said = { kind: "hello" } | ({ kind: "chunk" } & Chunk) | ({ kind: "description" } & Description);

export interface PlayedLane {
  /** Everything but HELLO, in order. */
  said: Said[];
  chunks: Chunk[];
  /** How many PING it has answered: what it said before is in `chunks` by then. */
  readonly pongs: number;
  lane: LaneSender;
  /** Gives the lane chunks of file 0 from `first` on; `have` are the tags of what the destination has in the file. */
  work: (count: number, have?: Buffer, first?: number) => void;
  /** Says something to the lane that is no answer. */
  say: (frame: Buffer) => void;
  /** Ends the lane. */
  drop: () => void;
  /** Resolves with how the lane ended: it failed, or was dropped. */
  ended: Promise<FromLane>;
  /** Ends both. Idempotent. */
  close: () => void;
}

export interface PlayedLaneOptions {
  path: string;
  bytes: number;
  /** What the destination answers. */
  answer: (said: Said) => Buffer;
  /** True where the destination has an index. */
  describes?: boolean;
  /** "off" where it is absent. */
  compression?: Compression;
  /** Which lane it is, and the memory of KnownPages that it shares with others; none where it is absent. */
  repeats?: { lane: number; memory: SharedArrayBuffer };
  /** What the destination reads where a chunk refers to what it has received. */
  received?: ReadReceived;
  /** How long a peer may be silent, in milliseconds; the usual time where it is absent. */
  silenceMs?: number;
  heard?: (message: FromLane) => void;
}

export function playLane(options: PlayedLaneOptions): PlayedLane {
  const { path, bytes, answer, describes, compression = "off", repeats = null, heard } = options;
  const read: ReadReceived = options.received ?? (() => false);
  const said: Said[] = [];
  const chunks: Chunk[] = [];
  let pongs = 0;
  let connection: Socket<FrameDecoder> | undefined;
  const server: TCPSocketListener<FrameDecoder> = Bun.listen<FrameDecoder>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        connection = socket;
        socket.data = new FrameDecoder("stranger", (name, payload) => {
          if (name === "hello") {
            socket.data.standing = "lane-destination";
            socket.write(answer({ kind: "hello" }));
          } else if (name === "chunk" || name === "describe") {
            const kept = Buffer.from(payload);
            if (name === "chunk") chunks.push(parseChunk(kept, [bytes], { read }));
            const heardNow: Said =
              name === "chunk"
                ? { kind: "chunk", ...chunks.at(-1)! }
                : { kind: "description", ...parseDescribe(kept, [bytes]) };
            said.push(heardNow);
            socket.write(answer(heardNow));
          } else if (name === "pong") {
            pongs++;
          }
        });
      },
      data: (socket, data) => socket.data.push(data),
    },
  });
  const { promise: ended, resolve: end } = Promise.withResolvers<FromLane>();
  const queue = new WorkQueue();
  const fd = openSync(path, "r");
  const lane = new LaneSender(
    {
      kind: "start",
      callee: { address: { host: "127.0.0.1", port: server.port }, tls: null },
      session: "ab".repeat(16),
      laneToken: "cd".repeat(16),
      silenceMs: options.silenceMs ?? deadlines.silenceMs,
      tagKey: laneKey,
      files: [{ path, fd, bytes }],
      queue: queue.memory,
      compression,
      mostLevel: 19,
      pace: SharedPacer.memory(null),
      indexKey: describes === true ? laneIndexKey : null,
      repeats,
    },
    (message) => {
      if (message.kind === "up") lane.go("begin");
      heard?.(message);
      if (message.kind === "failed") end(message);
    },
  );
  void lane.run();
  const work: PlayedLane["work"] = (count, have, first = 0) => {
    for (let chunk = first; chunk < first + count; chunk++) {
      queue.add(0, chunk, have?.subarray(chunk * tagBytes, (chunk + 1) * tagBytes) ?? zeroTag);
    }
    lane.look();
  };
  const drop = () => {
    lane.drop();
    end({ kind: "dropped" });
  };
  let isClosed = false;
  const close = () => {
    if (isClosed) return;
    isClosed = true;
    drop();
    closeSync(fd);
    server.stop(true);
  };
  const say = (frame: Buffer) => void connection!.write(frame);
  return {
    get pongs() {
      return pongs;
    },
    ...{ said, chunks, lane, work, say, ended, drop, close },
  };
}
