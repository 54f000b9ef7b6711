/** A stream of the source against a destination that the test plays, over plain TCP. */
import { afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UnixListener } from "../../../src/platform/unix-listener.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { encodeFrame, FrameDecoder, type FrameName, frameTypes } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { decodeMessage, encodeError, encodeMessage } from "../../../src/protocol/messages.ts";
import { StreamCompressor } from "../../../src/transfer/streams/stream-compressor.ts";
import { streamKey } from "../../../src/transfer/streams/stream-frame.ts";
import type { FromStreams } from "../../../src/transfer/streams/stream-messages.ts";
import { StreamSender } from "../../../src/transfer/streams/stream-sender.ts";
import { streamTiming } from "../../../src/transfer/streams/stream-watch.ts";
import { until } from "../../support/system/until.ts";
import { ackPayload, dataPayload, endPayload, slowDigest, slowTag } from "./stream-slow.ts";

const tagKey = randomBytes(16);
const instance = randomBytes(16).toString("hex");
const theirKey = streamKey(tagKey, instance, "destination");
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface Played {
  program: Socket;
  said: FromStreams[];
  /** Every HELLO's `received`, and every other frame, by name. */
  hellos: number[];
  frames: FrameName[];
  last: () => FromStreams | undefined;
}

const welcome = (received?: number) =>
  encodeMessage("welcome", { version: limits.version, software: "t", trusted: true, received });
const data = (offset: number, bytes: Buffer, tag?: Buffer) =>
  encodeFrame(frameTypes.data, dataPayload(theirKey, 0, offset, bytes, tag));
const ack = (received: number) => encodeFrame(frameTypes.dataAck, ackPayload(received));
const end = (bytes: number, tags: Buffer[]) =>
  encodeFrame(frameTypes.dataEnd, endPayload(bytes, slowDigest(0, tags, bytes)));

/** `answer` gives what the destination says to each frame; null closes the connection. */
async function play(
  answer: (name: FrameName, connection: number) => Buffer[] | null,
  { timing = streamTiming, retryForMs = 5000 } = {},
): Promise<Played> {
  const hellos: number[] = [];
  const frames: FrameName[] = [];
  const server = Bun.listen<FrameDecoder>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = new FrameDecoder("stranger", (name, payload) => {
          if (name === "hello") {
            socket.data.standing = "stream-destination";
            const { body } = decodeMessage("hello", payload);
            hellos.push((body as { received: number }).received);
          } else {
            frames.push(name);
          }
          const answers = answer(name, hellos.length);
          if (answers === null) socket.terminate();
          else for (const frame of answers) socket.write(frame);
        });
      },
      data: (socket, bytes) => socket.data.push(bytes),
    },
  });
  cleanups.push(() => server.stop(true));
  const folder = mkdtempSync(join(tmpdir(), "migrate-sender-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const listener = UnixListener.listen(join(folder, "program"));
  const program = createConnection({ path: listener.path, allowHalfOpen: true });
  const fd = await listener.accept();
  listener.close();
  program.on("error", () => {});
  program.resume();
  cleanups.push(() => program.destroy());
  const said: FromStreams[] = [];
  const sender = new StreamSender({
    route: {
      callee: { address: { host: "127.0.0.1", port: server.port }, tls: null },
      session: "ab".repeat(16),
      tagKey,
      instance,
      token: "cd".repeat(16),
      compression: "off",
      retryForMs,
      timing,
    },
    stream: 0,
    compressor: new StreamCompressor("off"),
    bandwidthBytesPerSec: null,
    post: (message) => {
      if (message.kind !== "progress") said.push(message);
    },
  });
  cleanups.push(() => sender.close());
  void sender.run(fd);
  return { program, said, hellos, frames, last: () => said.at(-1) };
}

/** The sender's last word, once the stream is over. */
async function over({ last }: Played): Promise<FromStreams> {
  await until(() => last()?.kind === "ended" || last()?.kind === "failed", "the end of the stream");
  return last()!;
}

async function fails(played: Played, code: string): Promise<void> {
  expect(await over(played)).toMatchObject({ kind: "failed", error: { code } });
  await until(() => played.program.readableEnded || played.program.destroyed, "the program's end");
}

const ping = encodeMessage("ping", {});
const pong = encodeMessage("pong", {});
const hello = (name: FrameName, ...frames: Buffer[]) => (name === "hello" ? frames : []);

describe("a stream of the source", () => {
  // [STREAM-3] [STREAM-4] [STREAM-7]
  test("says its frames again, each as it was, behind what the destination has", async () => {
    const pieces: string[] = [];
    const played = await play((name, connection) => {
      pieces.push(`${connection} ${name}`);
      if (name === "hello") return [welcome(connection === 3 ? 6 : 0)];
      // The first two connections break once everything that is said has come.
      if (connection < 3) return name === "dataEnd" ? null : [];
      return name === "dataEnd" ? [ack(7), end(0, [])] : [];
    });
    played.program.end("abcdef");
    const result = await over(played);
    expect(result).toMatchObject({ kind: "ended", result: { stream: 0, bytes: 6 } });
    await until(() => pieces.at(-1) === "3 dataAck", "the last acknowledgement");
    expect(pieces).toEqual([
      "1 hello",
      "1 data",
      "1 dataEnd",
      "2 hello",
      "2 data",
      "2 dataEnd",
      "3 hello",
      "3 dataEnd",
      "3 dataAck",
    ]);
    expect(
      played.said.filter(({ kind }) => kind === "link").map((said) => "state" in said && said.state),
    ).toEqual(["lost", "restored", "lost", "restored"]);
  });

  test("fails once it has carried nothing for so long, though connections stand and the other side says PING", async () => {
    const played = await play(
      (name) => {
        if (name === "hello") return [welcome(0), ping];
        // The other side is heard of all the time, and takes nothing.
        return name === "ping" ? [ping] : [];
      },
      { timing: { pingMs: 20, silenceMs: 80 }, retryForMs: 1000 },
    );
    played.program.write("abcdef");
    await fails(played, "network");
    expect(played.last()).toMatchObject({
      error: { message: expect.stringMatching(/nobody there answers/) },
    });
    expect(played.hellos.length).toBeGreaterThan(1);
  });

  test("goes on for ever where the other side answers, though its program takes nothing", async () => {
    let answered = 0;
    const played = await play(
      (name) => {
        if (name === "hello") return [welcome(0)];
        if (name === "ping") answered++;
        if (name === "ping" && answered === 50) return [pong, ack(6)];
        return name === "ping" ? [pong] : name === "dataEnd" ? [ack(7), end(0, [])] : [];
      },
      { timing: { pingMs: 20, silenceMs: 500 }, retryForMs: 1000 },
    );
    played.program.write("abcdef");
    await until(() => answered > 50, "the last PING");
    expect(played.hellos).toEqual([0]);
    played.program.end();
    expect(await over(played)).toMatchObject({ kind: "ended" });
  });

  // [STREAM-3]
  test("says in HELLO what its program has of the other's words", async () => {
    const first = randomBytes(30);
    const played = await play((name, connection) => {
      if (name === "hello") return connection === 1 ? [welcome(0), data(0, first)] : [welcome(0)];
      return name === "dataAck" && connection === 1 ? null : [];
    });
    await until(() => played.hellos.length === 2, "a second connection");
    expect(played.hellos).toEqual([0, 30]);
    expect(played.program.bytesRead).toBe(30);
  });

  test("connects again at once, and again, where another door holds it", async () => {
    const busy = encodeError(new MigrateError("busy", "not here"));
    const startMs = performance.now();
    const played = await play((name, connection) => hello(name, connection <= 20 ? busy : welcome(0)));
    await until(() => played.last()?.kind === "opened", "the stream to open");
    expect(played.hellos.length).toBe(21);
    // Waiting longer each time, as after a lost link, would take half a minute.
    expect(performance.now() - startMs).toBeLessThan(15_000);
  });

  test("gives up where no door ever holds it", async () => {
    const busy = encodeError(new MigrateError("busy", "not here"));
    const played = await play((name) => hello(name, busy));
    await fails(played, "busy");
    expect(played.hellos.length).toBe(201);
  });

  test("believes a destination that refuses it", async () => {
    const policy = encodeError(new MigrateError("policy", "no such stream"));
    const played = await play((name) => hello(name, policy));
    await fails(played, "policy");
    expect(played.hellos.length).toBe(1);
  });
});

describe("a destination cannot make it", () => {
  const bytes = randomBytes(20);
  const tag = slowTag(theirKey, 0, 0, bytes);

  test.each([
    ["go on without what has been received", [welcome()], "protocol"],
    ["believe that more came than was sent", [welcome(1)], "protocol"],
    ["believe that more is acknowledged than was sent", [welcome(0), ack(1)], "protocol"],
    ["take bytes before WELCOME", [data(0, bytes)], "protocol"],
    ["take bytes out of their order", [welcome(0), data(1, bytes)], "protocol"],
    ["take bytes twice", [welcome(0), data(0, bytes), data(0, bytes)], "protocol"],
    ["take bytes with a wrong tag", [welcome(0), data(0, bytes, Buffer.alloc(16))], "integrity"],
    ["take an end with a wrong digest", [welcome(0), data(0, bytes), end(20, [])], "integrity"],
    ["take an end that is too early", [welcome(0), data(0, bytes), end(21, [tag])], "protocol"],
    ["take bytes behind the end", [welcome(0), end(0, []), data(0, bytes)], "protocol"],
    ["take a second WELCOME", [welcome(0), welcome(0)], "protocol"],
    ["listen to what is no stream's", [welcome(0), encodeMessage("owned", {})], "protocol"],
  ] as const)("%s", async (_what, frames, code) => {
    const played = await play((name) => hello(name, ...frames));
    await fails(played, code);
    expect(played.hellos.length).toBe(1);
  });
});
