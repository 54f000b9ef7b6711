/** What a person is told where no QEMU can be talked to, and where one fails. */
import { describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { accept4, bind, close, connect, listen, socket } from "../../../../src/platform/libc.ts";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { Qmp } from "../../../../src/vm/qemu/qmp/qmp.ts";
import { QmpError, qmpFailure } from "../../../../src/vm/qemu/qmp/qmp-error.ts";
import { withDeadline } from "../../../support/system/deadline.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { until } from "../../../support/system/until.ts";
import { greetingLine, type PlayedMonitor, PlayedQemu } from "./played-qemu.ts";

let folder: string;
let path: string;
let leave: (() => void)[];
eachTestInFolder("migrate-qmp-", (made) => {
  folder = made;
  path = join(folder, "qmp");
  leave = [];
  return () => {
    for (const step of leave) step();
  };
});

async function refusal(timeoutMs = 5000): Promise<MigrateError> {
  try {
    const qmp = await withDeadline(Qmp.connect(path, { timeoutMs }), 10_000, "a refusal");
    qmp.close();
  } catch (thrown) {
    if (thrown instanceof MigrateError) return thrown;
    throw thrown;
  }
  throw new Error("it connected");
}

async function play(greet: (monitor: PlayedMonitor) => unknown): Promise<{ gone: Promise<void> }> {
  const gone = Promise.withResolvers<void>();
  const played = await PlayedQemu.listen(path, (monitor) => {
    monitor.closed.then(gone.resolve);
    return greet(monitor);
  });
  leave.push(() => played.close());
  return { gone: gone.promise };
}

/** A socket that has its path, and on which nobody listens yet. */
function boundSocket(): { address: Uint8Array; fd: number } {
  // SOCK_STREAM and SOCK_NONBLOCK: nothing here may wait.
  const fd = socket(1, 1 | 0o4000, 0);
  leave.push(() => close(fd));
  const address = Buffer.concat([Uint8Array.of(1, 0), Buffer.from(`${path}\0`)]);
  expect(bind(fd, address)).toBe(0);
  return { address, fd };
}

describe("connecting", () => {
  test("where there is nothing is told so", async () => {
    expect(await refusal()).toMatchObject({ code: "vm-invalid", message: `There is no socket ${path}` });
  });

  test("to a file finds no socket, and to a socket whose QEMU is gone nobody listening", async () => {
    writeFileSync(path, "");
    expect(await refusal()).toMatchObject({ code: "vm-invalid", message: `${path} is no socket` });
    rmSync(path);
    boundSocket();
    expect(await refusal()).toMatchObject({ code: "vm-invalid", message: `Nobody listens on ${path}` });
  });

  test("where QEMU takes the call and says nothing, another program holds it", async () => {
    await play(() => {});
    const error = await refusal(30);
    expect(error.code).toBe("vm-invalid");
    expect(error.message).toContain("another program is likely to hold this socket");
    expect(error.hint).toContain("one program at a time");
  });

  /** A socket with a caller in its queue, which has no room for another one. Gives its descriptor. */
  function fullSocket(): number {
    const { address, fd } = boundSocket();
    expect(listen(fd, 0)).toBe(0);
    const caller = socket(1, 1, 0);
    leave.push(() => close(caller));
    expect(connect(caller, address)).toBe(0);
    return fd;
  }

  test("where the queue of callers is full, another program holds it", async () => {
    fullSocket();
    expect((await refusal(30)).message).toContain("another program is likely to hold this socket");
  });

  test("waits where the queue of callers is full only for a moment", async () => {
    const fd = fullSocket();
    const connecting = Qmp.connect(path, { timeoutMs: 5000 });
    // Once the first is taken there is room for ours, and what takes it hangs up.
    let taken = 0;
    await until(() => {
      const call = accept4(fd, 0);
      if (call >= 0) taken += close(call) === 0 ? 1 : 0;
      return taken === 2;
    }, "two calls");
    const error = await connecting.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ message: `What listens on ${path} ended the conversation` });
  });

  test.each([
    ["HTTP/1.1 400 Bad Request\r\n", "is not QEMU's machine protocol"],
    ['{"return": {}}\r\n', "is not QEMU's machine protocol"],
    [
      '{"timestamp": {"seconds": 1, "microseconds": 1}, "event": "STOP"}\r\n',
      "is not QEMU's machine protocol",
    ],
    [`${greetingLine}garbage\r\n`, "is not QEMU's machine protocol"],
  ])("to what says %j is refused, and hung up on", async (line, why) => {
    const { gone } = await play((monitor) => monitor.write(line));
    expect(await refusal()).toMatchObject({ code: "vm-invalid", message: `What listens on ${path} ${why}` });
    await withDeadline(gone, 5000, "the end of the connection");
  });

  test("to what hangs up, or refuses to negotiate, is refused", async () => {
    const message = `What listens on ${path} ended the conversation`;
    await play((monitor) => monitor.socket.destroy());
    expect(await refusal()).toMatchObject({ code: "vm-invalid", message });
    rmSync(path, { force: true });
    await play(async (monitor) => {
      await monitor.write(greetingLine);
      const { id } = await monitor.command();
      await monitor.say({ id, error: { class: "CommandNotFound", desc: "no" } });
    });
    expect(await refusal()).toMatchObject({ code: "vm-invalid", message });
  });

  test("that ends in the very moment of its success has not succeeded", async () => {
    await play(async (monitor) => {
      await monitor.write(greetingLine);
      const { id } = await monitor.command();
      await monitor.write(`{"return": {}, "id": ${id}}\r\ngarbage\r\n`);
    });
    expect((await refusal()).message).toBe(`What listens on ${path} is not QEMU's machine protocol`);
  });

  test("to a path that is too long for a socket is refused", async () => {
    path = join(folder, "x".repeat(120));
    expect((await refusal()).code).toBe("vm-invalid");
  });
});

describe("a failure", () => {
  test("keeps QEMU's words, which may name paths, out of what a peer is told", () => {
    const refused = QmpError.refused("blockdev-add", "GenericError", "Could not open '/srv/web1.img'");
    const error = qmpFailure(refused, "source");
    expect(error).toMatchObject({
      code: "qemu-failed",
      side: "source",
      message: "QEMU refused blockdev-add (GenericError)",
      hint: "QEMU says: Could not open '/srv/web1.img'",
      cause: refused,
    });
  });

  test("of another kind says what happened", () => {
    const gone = new QmpError("interrupted", "QEMU ended").during("migrate");
    expect(qmpFailure(gone, "destination")).toMatchObject({
      code: "qemu-failed",
      side: "destination",
      message: "QEMU ended, before it answered migrate",
    });
  });

  test("that is none of QEMU's stays what it is", () => {
    const error = new MigrateError("cancelled", "stopped");
    expect(qmpFailure(error, "source")).toMatchObject({ code: "cancelled", side: "source" });
    expect(qmpFailure(new TypeError("x"), "source")).toMatchObject({ code: "bug", message: "x" });
  });

  test("has QEMU's words cut where they are endless", () => {
    expect(QmpError.refused("x", "GenericError", "y".repeat(100_000)).message.length).toBeLessThan(1100);
  });
});
