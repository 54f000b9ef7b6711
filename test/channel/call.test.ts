/** How connections of each role are opened, against a destination that the test plays over plain TCP. */
import { afterEach, describe, expect, test } from "bun:test";
import type { Socket } from "bun";
import { type Callee, type CallOptions, call, type Role, type Welcome } from "../../src/channel/call.ts";
import type { FrameSocket } from "../../src/channel/frame-socket.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { FrameDecoder, type FrameName } from "../../src/protocol/frames.ts";
import { deadlines, limits } from "../../src/protocol/limits.ts";
import { decodeMessage, encodeError, encodeMessage } from "../../src/protocol/messages.ts";
import { software } from "../../src/protocol/software.ts";
import { encodeAck } from "../../src/transfer/chunks/ack.ts";
import { until } from "../support/system/until.ts";

const roles: readonly Role[] = ["control", "lane", "stream"];
const undone: (() => void)[] = [];
afterEach(() => {
  for (const undo of undone.splice(0).reverse()) undo();
});

interface Played {
  callee: Callee;
  place: string;
  /** Frames of all connections, in order: the name, and the body of a message. */
  frames: { name: FrameName; body: unknown }[];
  connections: Socket<FrameDecoder>[];
  closed: () => number;
}

/** A destination that answers each HELLO with these bytes; null closes the connection. */
function play(answer: (connection: number) => Buffer | null): Played {
  const frames: Played["frames"] = [];
  const connections: Played["connections"] = [];
  let closed = 0;
  const server = Bun.listen<FrameDecoder>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        connections.push(socket);
        socket.data = new FrameDecoder("stranger", (name, payload) => {
          frames.push({ name, body: decodeMessage(name as "hello", payload).body });
          if (name !== "hello") return;
          const bytes = answer(connections.length);
          if (bytes === null) socket.end();
          else socket.write(bytes);
        });
      },
      data: (socket, bytes) => socket.data.push(bytes),
      close: () => void closed++,
      error: () => {},
    },
  });
  undone.push(() => server.stop(true));
  const callee = { address: { host: "127.0.0.1", port: server.port }, tls: null };
  return { callee, place: `127.0.0.1:${server.port}`, frames, connections, closed: () => closed };
}

interface Called {
  socket: FrameSocket | undefined;
  welcome: Welcome | undefined;
  received: FrameName[];
  error: MigrateError | undefined;
}

async function calling(callee: Callee, role: Role, change: Partial<CallOptions> = {}): Promise<Called> {
  const called: Called = { socket: undefined, welcome: undefined, received: [], error: undefined };
  try {
    await call(callee, role, {
      hello: () => ({}),
      welcomed: (socket, welcome) => {
        Object.assign(called, { socket, welcome });
        undone.push(() => socket.destroy());
        return { frame: (name) => void called.received.push(name), closed: () => {} };
      },
      ...change,
    });
  } catch (thrown) {
    called.error = thrown as MigrateError;
  }
  return called;
}

const welcome = (more: Partial<Welcome> = {}) =>
  encodeMessage("welcome", { version: limits.version, software: "test", trusted: true, ...more });
const busy = encodeError(new MigrateError("busy", "not here"));
const session = "ab".repeat(16);

describe.each(roles)("a %s call", (role) => {
  test("says HELLO once it stands, and resolves with WELCOME", async () => {
    const played = play(() => welcome({ door: 1, doors: 2 }));
    const called = await calling(played.callee, role, { hello: () => ({ session, attempt: 7 }) });
    expect(called.error).toBeUndefined();
    expect(called.welcome).toMatchObject({ software: "test", trusted: true, door: 1, doors: 2 });
    expect(called.socket!.peer).toBeNull();
    expect(played.frames).toEqual([
      { name: "hello", body: { version: limits.version, role, software, session, attempt: 7 } },
    ]);
  });

  test("shows life while it waits, and misses nothing that comes together with WELCOME", async () => {
    const next = {
      control: encodeMessage("owned", {}),
      lane: encodeAck([{ file: 0, chunk: 0 }]),
      stream: pong,
    };
    const played = play(() => Buffer.concat([ping, pong, welcome(), next[role]]));
    const { error, received } = await calling(played.callee, role);
    expect(error).toBeUndefined();
    expect(received).toEqual([{ control: "owned", lane: "ack", stream: "pong" }[role] as FrameName]);
    await until(() => played.frames.length === 2, "an answer to the PING");
    expect(played.frames[1]!.name).toBe("pong");
  });

  test("rejects with what the destination answers by ERROR, on the destination's side", async () => {
    const played = play(() => encodeError(new MigrateError("policy", "not you")));
    const { error } = await calling(played.callee, role);
    expect(error).toMatchObject({ code: "policy", side: "destination", message: "not you" });
    await until(() => played.closed() === 1, "the end of the connection");
  });

  test("tells the destination what is wrong with its WELCOME, and closes", async () => {
    const played = play(() => welcome());
    const { error } = await calling(played.callee, role, {
      welcomed: () => {
        throw new MigrateError("protocol", "a word is missing");
      },
    });
    expect(error).toMatchObject({ code: "protocol", message: "a word is missing" });
    await until(() => played.closed() === 1, "the end of the connection");
    expect(played.frames[1]).toMatchObject({ name: "error", body: { code: "protocol" } });
  });

  test("says so if the destination hangs up, or nothing listens there", async () => {
    const played = play(() => null);
    const { error } = await calling(played.callee, role);
    expect(error).toMatchObject({ code: "network", hint: expect.stringContaining("--insecure") });
    expect(error!.message).toContain(`${played.place} closed the connection`);
    undone.pop()!();
    const refused = await calling(played.callee, role);
    expect(refused.error).toMatchObject({ code: "network" });
    expect(refused.error!.message).toEndWith("nothing listens there");
  });

  test("dials again while the destination is busy, as often as it was told to", async () => {
    const played = play((connection) => (connection <= 3 ? busy : welcome()));
    expect((await calling(played.callee, role)).error).toMatchObject({ code: "busy" });
    expect((await calling(played.callee, role, { busyTries: 1 })).error).toMatchObject({ code: "busy" });
    expect((await calling(played.callee, role, { busyTries: 1 })).error).toBeUndefined();
    expect(played.connections.length).toBe(4);
  });

  test("is given up while it waits, and before it has begun", async () => {
    const played = play(() => Buffer.alloc(0));
    const controller = new AbortController();
    const waiting = calling(played.callee, role, { signal: controller.signal, busyTries: 5 });
    await until(() => played.frames.length === 1, "HELLO");
    controller.abort();
    expect((await waiting).error).toMatchObject({ code: "cancelled" });
    await until(() => played.closed() === 1, "the end of the connection");
    const { error } = await calling(played.callee, role, { signal: controller.signal });
    expect(error).toMatchObject({ code: "cancelled" });
    expect(played.connections.length).toBe(1);
  });
});

const ping = encodeMessage("ping", {});
const pong = encodeMessage("pong", {});

test("a destination that takes the connection and never says WELCOME is given up after the deadline", async () => {
  const played = play(() => ping);
  const startMs = performance.now();
  const called = await Promise.all(roles.map((role) => calling(played.callee, role)));
  expect(performance.now() - startMs).toBeGreaterThan(deadlines.helloMs - 100);
  for (const { error } of called) {
    expect(error!.code).toBe("network");
    expect(error!.message).toEndWith("accepted the connection and says nothing");
  }
  await until(() => played.closed() === 3, "the end of the connections");
}, 30_000);
