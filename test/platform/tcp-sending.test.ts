/** What the kernel tells of a connection, as tcp(7) has it: by real ones on the loopback device. */
import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import type { Socket } from "bun";
import { tcpSending } from "../../src/platform/tcp-sending.ts";
import { until } from "../support/system/until.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface Pair {
  near: Socket;
  far: Socket;
  fd: number;
}

async function pair(): Promise<Pair> {
  const accepted = Promise.withResolvers<Socket>();
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: (socket) => accepted.resolve(socket), data: () => {} },
  });
  cleanups.push(() => server.stop(true));
  const near = await Bun.connect({ hostname: "127.0.0.1", port: server.port, socket: { data: () => {} } });
  cleanups.push(() => near.terminate());
  const { fd } = near as unknown as { fd: number };
  return { near, far: await accepted.promise, fd };
}

test("what the other side's kernel has acknowledged is counted, and then nothing waits", async () => {
  const { near, fd } = await pair();
  const before = tcpSending(fd)!.acknowledgedBytes;
  near.write(Buffer.alloc(1000));
  await until(() => tcpSending(fd)!.acknowledgedBytes >= before + 1000, "the acknowledgement");
  expect(tcpSending(fd)).toMatchObject({ isUnderway: false, waitingBytes: 0 });
});

test("what a peer has no room for waits, and is not under way", async () => {
  const { near, far, fd } = await pair();
  far.pause();
  const piece = Buffer.alloc(1024 ** 2);
  await until(() => near.write(piece) <= 0, "a socket that is full");
  await until(() => tcpSending(fd)!.isUnderway === false, "a peer without room");
  const { acknowledgedBytes, waitingBytes } = tcpSending(fd)!;
  expect(waitingBytes).toBeGreaterThan(0);
  far.resume();
  await until(() => tcpSending(fd)!.acknowledgedBytes > acknowledgedBytes, "a peer that reads again");
});

test("of what is no TCP connection nothing is known", () => {
  const fd = openSync("/dev/null", "r");
  cleanups.push(() => closeSync(fd));
  expect(tcpSending(fd)).toBeNull();
  expect(tcpSending(-1)).toBeNull();
});
