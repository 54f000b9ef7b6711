/** Whose socket a path is. */
import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { bind, close, listen, socket } from "../../src/platform/libc.ts";
import { exchangeLine } from "../../src/platform/line-socket.ts";
import { isListenedAt, peerProcess, processListeningAt } from "../../src/platform/peer-process.ts";
import { processId } from "../../src/platform/process-id.ts";
import { unixAddress } from "../../src/platform/unix-socket.ts";
import { startChild } from "../support/system/child.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";
import { until } from "../support/system/until.ts";

let folder: string;
let path: string;
eachTestInFolder("migrate-peer-", (made) => {
  folder = made;
  path = join(folder, "socket");
});

async function listening(at: string, onCall = () => {}): Promise<Server> {
  const ready = Promise.withResolvers<void>();
  const server = createServer((call) => {
    call.on("end", onCall).resume();
  });
  server.listen(at, ready.resolve);
  await ready.promise;
  return server;
}

const code = (expected: string) => expect.objectContaining({ code: expected });

test("a socket of ours is ours; who listens sees a call that ends without a word", async () => {
  const ended = Promise.withResolvers<void>();
  const server = await listening(path, ended.resolve);
  try {
    expect(peerProcess(path)).toEqual(processId(process.pid)!);
    await ended.promise;
  } finally {
    server.close();
  }
});

test("a socket of another process is that one's", async () => {
  const program = `Bun.listen({ unix: ${JSON.stringify(path)}, socket: { data() {} } }); console.log("up")`;
  const child = startChild([process.execPath, "-e", program]);
  await until(() => child.stdout().includes("up"), "that it listens");
  expect(peerProcess(path)).toEqual(processId(child.pid)!);
});

test("no descriptor is left open, whatever comes of it", async () => {
  const server = await listening(path);
  try {
    const open = () => readdirSync("/proc/self/fd").length;
    // What earlier tests had is closed a moment after they have ended; here nothing is opened meanwhile.
    const before = open();
    for (let count = 0; count < 20; count++) expect(() => peerProcess(join(folder, "none"))).toThrow();
    expect(open()).toBeLessThanOrEqual(before);
    for (let count = 0; count < 20; count++) peerProcess(path);
    // Those at the server's end come on top, once it has looked.
    expect(open()).toBeLessThanOrEqual(before);
  } finally {
    server.close();
  }
});

test("what is no socket that somebody listens on is told apart", () => {
  expect(() => peerProcess(path)).toThrow(code("ENOENT"));
  writeFileSync(path, "");
  expect(() => peerProcess(path)).toThrow(code("ECONNREFUSED"));
  expect(() => peerProcess("")).toThrow(code("EINVAL"));
  expect(() => peerProcess(`${path}\0x`)).toThrow(code("EINVAL"));
});

test("a full queue of callers is an answer, not a wait", () => {
  const fd = socket(1, 1, 0);
  try {
    bind(fd, Buffer.concat([Uint8Array.of(1, 0), Buffer.from(`${path}\0`)]));
    expect(listen(fd, 0)).toBe(0);
    expect(peerProcess(path)).toEqual(processId(process.pid)!);
    expect(() => peerProcess(path)).toThrow(code("EAGAIN"));
  } finally {
    close(fd);
  }
});

test("a path of 107 bytes is the longest", async () => {
  const longest = join(folder, "x".repeat(107 - folder.length - 1));
  const server = await listening(longest);
  try {
    expect(peerProcess(longest).pid).toBe(process.pid);
    expect(() => peerProcess(`${longest}x`)).toThrow(code("ENAMETOOLONG"));
  } finally {
    server.close();
  }
});

test("who listens is found without a call, and nobody where nobody listens", async () => {
  let calls = 0;
  const server = await listening(path, () => calls++);
  try {
    expect(processListeningAt(path)).toEqual(processId(process.pid)!);
    expect(calls).toBe(0);
  } finally {
    server.close();
  }
  expect(processListeningAt(path)).toBeNull();
  expect(processListeningAt(join(folder, "none"))).toBeNull();
});

test("nobody listens where there is no socket, and at one that its listener has left", () => {
  expect(isListenedAt(path)).toBe(false);
  const fd = socket(1, 1, 0);
  bind(fd, unixAddress(path, "bind"));
  close(fd);
  expect(isListenedAt(path)).toBe(false);
});

test("somebody listens where the queue of callers is full, which is not taken for nobody", async () => {
  const fd = socket(1, 1, 0);
  bind(fd, unixAddress(path, "bind"));
  listen(fd, 0);
  try {
    expect(isListenedAt(path)).toBe(true);
    // Nobody accepts: the queue fills with connections that stay in it, closed or not.
    const codes = new Set<string>();
    for (let tries = 0; tries < 8; tries++)
      await Bun.connect({ unix: path, socket: { data() {} } }).catch(({ code }) => codes.add(code));
    // What it is for.
    expect([...codes]).toEqual(["ECONNREFUSED"]);
    expect(isListenedAt(path)).toBe(true);
    const asked = await exchangeLine(path, "?", { mostBytes: 10, timeoutMs: 100 });
    expect(asked.kind).toBe("unreachable");
  } finally {
    close(fd);
  }
});
