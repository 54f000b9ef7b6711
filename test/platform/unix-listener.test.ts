import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { close } from "../../src/platform/libc.ts";
import { UnixListener } from "../../src/platform/unix-listener.ts";
import { socketPathBytes } from "../../src/platform/unix-socket.ts";
import { withDeadline } from "../support/system/deadline.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";
import { callSocket } from "../support/system/unix-socket.ts";

let [folder, path] = ["", ""];
let [listeners, sockets, fds]: [UnixListener[], Socket[], number[]] = [[], [], []];

eachTestInFolder("migrate-listener-", (made) => {
  folder = made;
  path = join(folder, "socket");
  [listeners, sockets, fds] = [[], [], []];
  return () => {
    for (const listener of listeners) listener.close();
    for (const socket of sockets) socket.destroy();
    for (const fd of fds) close(fd);
  };
});

function open(at = path): UnixListener {
  const listener = UnixListener.listen(at);
  listeners.push(listener);
  return listener;
}

async function call(): Promise<Socket> {
  const socket = await callSocket(path);
  socket.on("error", () => {});
  sockets.push(socket);
  return socket;
}

async function accept(listener: UnixListener): Promise<number> {
  const fd = await listener.accept({ timeoutMs: 10_000 });
  fds.push(fd);
  return fd;
}

/** The next piece that comes, as text. */
function nextText(socket: Socket): Promise<string> {
  const text = new Promise<string>((resolve, reject) => {
    socket.once("data", (bytes) => resolve(bytes.toString()));
    socket.once("close", () => reject(new Error("closed without a word")));
  });
  return withDeadline(text, 10_000, "an answer");
}

function codeOf(make: () => unknown): unknown {
  try {
    make();
    return "no error";
  } catch (thrown) {
    return (thrown as { code?: unknown }).code;
  }
}

/** The sockets of this process; what is opened and closed in the looking is left out. */
function openSockets(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith("socket:") ? [target] : [];
    } catch {
      return [];
    }
  });
}

describe("a connection that a Worker serves", () => {
  test("is served under the descriptor that the main thread accepted, each by its own Worker", async () => {
    const listener = open();
    const workers = ["one", "two"].map((mark) => ({
      mark,
      worker: new Worker(new URL("../support/system/echo-worker.ts", import.meta.url).href),
    }));
    try {
      for (const { mark, worker } of workers) {
        const caller = await call();
        const fd = await listener.accept({ timeoutMs: 10_000 });
        worker.postMessage({ fd, mark });
        const answer = nextText(caller);
        caller.write("hello");
        expect(await answer).toBe(`${mark}:hello`);
        // The Worker owns the descriptor: the caller's end closes it.
        const target = readlinkSync(`/proc/self/fd/${fd}`);
        const closed = new Promise<void>((resolve) => caller.once("close", () => resolve()));
        caller.end();
        await withDeadline(closed, 10_000, "the end of the connection");
        expect(target).toStartWith("socket:");
      }
    } finally {
      for (const { worker } of workers) worker.terminate();
    }
  });
});

describe("accepting", () => {
  test("keeps the order of arrival, for callers that were there first and for waits that were", async () => {
    const listener = open();
    const callers = [await call(), await call()];
    const accepted = [await accept(listener), await accept(listener)];
    const waits = [accept(listener), accept(listener)];
    callers.push(await call(), await call());
    accepted.push(...(await Promise.all(waits)));
    expect(new Set(accepted).size).toBe(4);
    for (const [index, fd] of accepted.entries()) {
      const answer = nextText(callers[index]!);
      writeFileSync(fd, `number ${index}`);
      expect(await answer).toBe(`number ${index}`);
    }
  });

  test("gives a descriptor that no child inherits and no read blocks on", async () => {
    const listener = open();
    await call();
    const fd = await accept(listener);
    const flags = /flags:\s+0([0-7]+)/.exec(await Bun.file(`/proc/self/fdinfo/${fd}`).text())?.[1];
    const [nonBlocking, closeOnExec] = [0o4000, 0o2000000];
    expect(Number.parseInt(flags!, 8) & (nonBlocking | closeOnExec)).toBe(nonBlocking | closeOnExec);
  });

  test("that times out takes no connection from the next one", async () => {
    const listener = open();
    await expect(listener.accept({ timeoutMs: 1 })).rejects.toMatchObject({ code: "ETIMEDOUT" });
    const caller = await call();
    const fd = await accept(listener);
    const answer = nextText(caller);
    writeFileSync(fd, "here");
    expect(await answer).toBe("here");
  });

  test("ends with the reason of the signal, before or while it waits, and leaves others waiting", async () => {
    const listener = open();
    const reason = new Error("no longer wanted");
    await expect(listener.accept({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const given = listener.accept({ signal: controller.signal });
    const other = accept(listener);
    controller.abort(reason);
    await expect(given).rejects.toBe(reason);
    await call();
    expect(await other).toBeGreaterThan(2);
  });

  test("is refused once the listener is closed, also to those who wait", async () => {
    const listener = open();
    const waiting = listener.accept();
    listener.close();
    await expect(waiting).rejects.toMatchObject({ code: "ECANCELED" });
    await expect(listener.accept()).rejects.toMatchObject({ code: "ECANCELED" });
  });
});

describe("the path", () => {
  test("is there for this user alone, and gone after close", () => {
    const listener = open();
    expect(listener.path).toBe(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    listener.close();
    expect(existsSync(path)).toBe(false);
    listener.close();
  });

  test("of a socket that was left behind is used again, and its old owner does not remove it", async () => {
    const old = open();
    const fresh = open();
    old.close();
    expect(existsSync(path)).toBe(true);
    await call();
    expect(await accept(fresh)).toBeGreaterThan(2);
  });

  test("is refused where something else than a socket stands there, which stays", () => {
    writeFileSync(path, "a letter");
    expect(codeOf(() => open())).toBe("EADDRINUSE");
    expect(statSync(path).size).toBe(8);
  });

  test("may have 107 bytes and no more, and no zero", async () => {
    const room = socketPathBytes - folder.length - 1;
    path = join(folder, "a".repeat(room));
    const listener = open();
    await call();
    await accept(listener);
    expect(codeOf(() => open(join(folder, "a".repeat(room + 1))))).toBe("ENAMETOOLONG");
    expect(codeOf(() => open(join(folder, "é".repeat(room / 2 + 1))))).toBe("ENAMETOOLONG");
    expect(codeOf(() => open(`${folder}/a\0b`))).toBe("EINVAL");
    expect(codeOf(() => open(""))).toBe("EINVAL");
  });

  test("in a folder that is not there leaves no descriptor behind", () => {
    const before = openSockets();
    expect(codeOf(() => open(join(folder, "none", "socket")))).toBe("ENOENT");
    expect(openSockets()).toEqual(before);
  });
});
