/** Who listens at a unix socket, asked where its queue has room and where it is full. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { bind, close, listen } from "../../src/platform/libc.ts";
import { isListenedAt } from "../../src/platform/unix-queue.ts";
import { openUnixSocket, unixAddress } from "../../src/platform/unix-socket.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let path: string;
eachTestInFolder("unix-queue-", (folder) => {
  path = join(folder, "s");
});

test("nobody listens where there is no socket, and at one that its listener has left", () => {
  expect(isListenedAt(path)).toBe(false);
  const fd = openUnixSocket();
  bind(fd, unixAddress(path, "bind"));
  close(fd);
  expect(isListenedAt(path)).toBe(false);
});

test("somebody listens where the queue is empty, and where it is full", async () => {
  const fd = openUnixSocket();
  bind(fd, unixAddress(path, "bind"));
  listen(fd, 0);
  try {
    expect(isListenedAt(path)).toBe(true);
    // Nobody accepts: the queue fills with connections that stay in it, closed or not.
    const codes = new Set<string>();
    for (let tries = 0; tries < 8; tries++) {
      await Bun.connect({ unix: path, socket: { data() {} } }).catch(({ code }) => codes.add(code));
    }
    // What this file is for.
    expect([...codes]).toEqual(["ECONNREFUSED"]);
    expect(isListenedAt(path)).toBe(true);
  } finally {
    close(fd);
  }
});
