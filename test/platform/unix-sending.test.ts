/** What the kernel tells of a unix socket's other end, as unix(7) has it: by real ones. */
import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Socket } from "bun";
import { unixWaitingBytes } from "../../src/platform/unix-sending.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";
import { until } from "../support/system/until.ts";

let unix: string;
const cleanups: (() => void)[] = [];
eachTestInFolder("unix-sending", (folder) => {
  unix = join(folder, "s");
  return () => {
    for (const cleanup of cleanups.splice(0).reverse()) cleanup();
  };
});

test("what the other end does not read waits, and nothing does once it has", async () => {
  const accepted = Promise.withResolvers<Socket>();
  const server = Bun.listen({
    unix,
    socket: {
      open(socket) {
        socket.pause();
        accepted.resolve(socket);
      },
      data: () => {},
    },
  });
  cleanups.push(() => server.stop(true));
  const near = await Bun.connect({ unix, socket: { data: () => {} } });
  cleanups.push(() => near.terminate());
  const far = await accepted.promise;
  const { fd } = near as unknown as { fd: number };
  expect(unixWaitingBytes(fd)).toBe(0);
  near.write(Buffer.alloc(10_000));
  expect(unixWaitingBytes(fd)).toBeGreaterThanOrEqual(10_000);
  far.resume();
  await until(() => unixWaitingBytes(fd) === 0, "the other end to read");
});

test("of what is no socket nothing is known", () => {
  const fd = openSync("/dev/null", "r");
  cleanups.push(() => closeSync(fd));
  expect(unixWaitingBytes(fd)).toBeNull();
  expect(unixWaitingBytes(-1)).toBeNull();
});
