import { describe, expect, test } from "bun:test";
import { readFileSync, readlinkSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { isRunning } from "../../../src/platform/process-id.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import type { Daemon } from "../../../src/vm/qemu/daemon.ts";
import { adoptDaemon, endDaemon, excerptForPeer, startDaemon } from "../../../src/vm/qemu/daemon.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

let folder: string;
let daemons: Daemon[];
eachTestInFolder("migrate-daemon-", (made) => {
  folder = made;
  daemons = [];
  return async () => {
    for (const { process } of daemons) await endDaemon(process);
  };
});

function start(...argv: string[]): Daemon {
  const daemon = startDaemon(argv, { cwd: "/", log: join(folder, "log") });
  daemons.push(daemon);
  return daemon;
}

const ended = (daemon: Daemon) => withDeadline(daemon.ended, 10_000, "its end");

describe("a daemon", () => {
  test("has a session, a working directory and an environment of its own, and no descriptor of ours", async () => {
    const { process: id } = start("sleep", "600");
    const { pid } = id;
    // execve(2) lets its parent go on before all of the new program is there: its environment comes last.
    await until(() => readFileSync(`/proc/${pid}/environ`, "utf8").includes("PATH="), "sleep's environment");
    expect(readFileSync(`/proc/${pid}/comm`, "utf8")).toBe("sleep\n");
    // proc(5), stat: field 6 is the session, which has the number of its first process.
    expect(readFileSync(`/proc/${pid}/stat`, "utf8").split(" ")[5]).toBe(String(pid));
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8")
      .split("\0")
      .filter((entry) => entry !== "");
    expect(environment.map((entry) => entry.split("=")[0]).sort()).toEqual(["LANG", "PATH"]);
    expect(readlinkSync(`/proc/${pid}/fd/0`)).toBe("/dev/null");
    expect(readlinkSync(`/proc/${pid}/fd/1`)).toBe("/dev/null");
    expect(readlinkSync(`/proc/${pid}/fd/2`)).toBe(join(folder, "log"));
    expect(statSync(join(folder, "log")).mode & 0o777).toBe(0o600);
  });

  test("tells its end and its last errors, also when it ended at once", async () => {
    const daemon = start("sh", "-c", "echo first >&2; echo 'cannot open /var/lib/vms/disk' >&2");
    await ended(daemon);
    expect(isRunning(daemon.process)).toBe(false);
    expect(daemon.lastErrors()).toBe("first; cannot open disk");
  });

  test("that writes much is read from the end of its log", async () => {
    const daemon = start("sh", "-c", "yes 'a line' | head -n 100000 >&2; echo 'the last one' >&2");
    await ended(daemon);
    expect(daemon.lastErrors()).toBe("a line; a line; the last one");
  });

  test("that there is no program for is a sentence that names it", () => {
    try {
      start("/nowhere/at/all/qemu-none");
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(MigrateError);
      expect(thrown).toMatchObject({ code: "qemu-failed", message: "qemu-none is not installed." });
      return;
    }
    throw new Error("it was started");
  });

  test("does not write through a link that stands where its log should be", () => {
    symlinkSync(join(folder, "elsewhere"), join(folder, "log"));
    expect(() => start("sleep", "600")).toThrow("ELOOP");
  });

  test("that ignores SIGTERM is killed, and one that has ended is no error", async () => {
    const daemon = start("sh", "-c", "trap '' TERM; echo ready >&2; while :; do sleep 1; done");
    await until(() => daemon.lastErrors() === "ready", "the trap");
    await endDaemon(daemon.process, { politeMs: 100 });
    await ended(daemon);
    await endDaemon(daemon.process, { politeMs: 100 });
    await endDaemon(daemon.process);
  });

  test("that is adopted tells its end to whoever is not its parent", async () => {
    const daemon = start("sleep", "600");
    const adopted = adoptDaemon(daemon.process, join(folder, "log"));
    let told = false;
    const end = adopted.ended.then(() => {
      told = true;
    });
    await Bun.sleep(0);
    expect(told).toBe(false);
    await endDaemon(daemon.process);
    await withDeadline(end, 10_000, "the end of the adopted one");
  });
});

describe("an excerpt for a peer", () => {
  test("tell what broke rather than what is about to, where there are both", () => {
    expect(excerptForPeer("a: warning: x\nb: broken")).toBe("b: broken");
    expect(excerptForPeer("a: warning: x")).toContain("x");
  });

  test("name files, and no folder of this host", () => {
    expect(
      excerptForPeer(
        "/usr/bin/qemu-system-x86_64: -drive file=/srv/vms/.in/web1/disk.raw,if=none: Could not open '/srv/vms/.in/web1/disk.raw': No such file\n",
      ),
    ).toBe("qemu-system-x86_64: -drive file=disk.raw,if=none: Could not open 'disk.raw': No such file");
    expect(excerptForPeer('../relative/x and file:///etc/y and {"filename":"/srv/z"}')).toBe(
      'x and file:y and {"filename":"z"}',
    );
  });

  test("have nothing in them that deceives a terminal", () => {
    const excerpt = excerptForPeer("a\u001b[31mred\u202e\u2028b\r\n\tc\0d\u200be");
    expect(excerpt).toBe("a [31mred b; c d e");
  });

  test("are cut, without cutting a character in two", () => {
    expect(excerptForPeer("ü".repeat(299))).toHaveLength(299);
    const long = excerptForPeer("💾".repeat(1000));
    expect([...long].length).toBe(300);
    expect(long.isWellFormed()).toBe(true);
    expect(excerptForPeer("")).toBe("");
  });
});
