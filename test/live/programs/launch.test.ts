/** Starting, adopting and ending a real QEMU, as a destination does. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { isRunning } from "../../../src/platform/process-id.ts";
import { adoptQemu, startQemu } from "../../../src/vm/qemu/launch.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { failureOf, RunGround, stoppedMachine } from "../../support/guests/run-ground.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";

let ground: RunGround;
beforeEach(() => {
  ground = new RunGround();
});
afterEach(() => ground.clear());

const soon = <T>(promise: Promise<T>, what: string) => withDeadline(promise, 20_000, what);

/** The processes with this text in their arguments. */
function processesNaming(text: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
    } catch {
      return false;
    }
  });
}

/** What a process has open, by descriptor. */
function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}

describe("a QEMU that is started", () => {
  test("answers, is noted, and quits when it is asked, which may be asked again", async () => {
    const run = ground.run();
    const qemu = await ground.start(run);
    expect(await qemu.qmp.execute("query-status")).toMatchObject({ running: false });
    expect(run.noted()?.qemu).toEqual(qemu.process);
    expect(statSync(join(run.path, "qemu.log")).mode & 0o777).toBe(0o600);
    expect(qemu.lastErrors()).toBe("");
    await qemu.quit();
    await soon(qemu.ended, "its end");
    expect(isRunning(qemu.process)).toBe(false);
    await qemu.quit();
    await qemu.kill();
    expect(await adoptQemu(run)).toBeNull();
  });

  test("is killed also when it hangs, and tells its end by itself", async () => {
    const qemu = await ground.start(ground.run());
    process.kill(qemu.process.pid, "SIGSTOP");
    await qemu.kill();
    await soon(qemu.ended, "its end");
    expect(isRunning(qemu.process)).toBe(false);
  });

  test("with a command line it does not take is a clear sentence without local paths, and leaves nothing", async () => {
    const run = ground.run();
    const error = await failureOf(
      ground.start(run, "-drive", `file=${ground.home}/none/disk.raw,format=raw,if=virtio`),
    );
    expect(error.code).toBe("qemu-failed");
    expect(error.message).toMatch(
      /^QEMU ended before the VM was there: qemu-system-x86_64: .*disk\.raw.*No such file/,
    );
    expect(error.message).not.toContain("/");
    expect(isRunning(run.noted()!.qemu!)).toBe(false);
    expect(processesNaming(run.path)).toEqual([]);
    run.make("session-2");
  });

  test("with a disk that another one has is a clear sentence, though its monitor is there already", async () => {
    const disk = join(ground.home, "disk.raw");
    await createDisk({ path: disk, format: "raw" }, 8);
    const drive = ["-drive", `file=${disk},format=raw,if=virtio`];
    await ground.start(ground.run("first"), ...drive);
    const error = await failureOf(ground.start(ground.run("second"), ...drive));
    expect(error.message).toContain('Failed to get "write" lock');
  });

  test("that is silent is killed, and that is said", async () => {
    const run = ground.run();
    const error = await failureOf(startQemu(["sleep", "600"], run, { timeoutMs: 200 }));
    expect(error.message).toBe("QEMU did not answer within 0.2 seconds, without a word.");
    expect(isRunning(run.noted()!.qemu!)).toBe(false);
  });

  test("is not left running where it cannot be noted", async () => {
    const run = ground.run();
    rmSync(join(run.path, "processes.json"));
    const error = await failureOf(ground.start(run));
    expect(error.code).toBe("home-unusable");
    expect(processesNaming(run.path)).toEqual([]);
  });
});

describe("a QEMU whose starter was killed", () => {
  const program = resolve(import.meta.dir, "../../support/guests/launch-qemu.ts");

  async function startAndKillStarter(): Promise<{ run: RunFolder; shared: string[]; pid: number }> {
    const said = Promise.withResolvers<void>();
    const starter = startChild([process.execPath, program, ground.home, "web1", ...stoppedMachine], {
      onStdout: () => said.resolve(),
    });
    const gone = starter.exit.then(() => Promise.reject(new Error(starter.stderr())));
    await soon(Promise.race([said.promise, gone]), "the start");
    gone.catch(() => {});
    const run = RunFolder.at(ground.home, "web1");
    const { pid } = run.noted()!.qemu!;
    const theirs = new Set(openFiles(starter.pid));
    const shared = openFiles(pid).filter((file) => theirs.has(file) && file !== "/dev/null");
    await starter.kill();
    return { run, shared, pid };
  }

  test("goes on without any of its starter's descriptors, is adopted, and tells its end", async () => {
    const { run, shared, pid } = await startAndKillStarter();
    expect(shared.filter((file) => !file.startsWith("anon_inode:"))).toEqual([]);
    const qemu = (await adoptQemu(run))!;
    expect(qemu.process.pid).toBe(pid);
    expect(await qemu.qmp.execute("query-status")).toMatchObject({ running: false });
    expect(() => run.make("session-2")).toThrow("runs on this host already");
    await qemu.quit();
    await soon(qemu.ended, "its end");
    expect(await adoptQemu(run)).toBeNull();
    run.make("session-2");
  });

  test("is not taken for another that answers in its place", async () => {
    const { run } = await startAndKillStarter();
    const other = ground.run("web2");
    const neighbour = await ground.start(other);
    neighbour.qmp.close();
    rmSync(run.socket("qmp"));
    symlinkSync(other.socket("qmp"), run.socket("qmp"));
    const failure = await failureOf(adoptQemu(run));
    expect(failure).toMatchObject({ code: "vm-invalid" });
    expect(failure.message).toContain("Another program answers");
    expect(isRunning(neighbour.process)).toBe(true);
  });

  test("between its start and its note is found by its socket", async () => {
    const { run, pid } = await startAndKillStarter();
    await Bun.write(
      join(run.path, "processes.json"),
      JSON.stringify({
        ...(await Bun.file(join(run.path, "processes.json")).json()),
        qemu: null,
      }),
    );
    expect(() => run.make("session-2")).toThrow("runs on this host already");
    const qemu = (await adoptQemu(run))!;
    expect(qemu.process.pid).toBe(pid);
    expect(run.noted()?.qemu).toEqual(qemu.process);
    await qemu.kill();
    await soon(qemu.ended, "its end");
  });
});
