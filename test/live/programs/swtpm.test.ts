/** Starting, finding and ending a real swtpm, beside a real QEMU. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { isRunning } from "../../../src/platform/process-id.ts";
import { endSwtpm, startSwtpm, swtpmOf } from "../../../src/vm/qemu/swtpm.ts";
import { failureOf, quoteComma, RunGround } from "../../support/guests/run-ground.ts";
import { type Child, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { until } from "../../support/system/until.ts";

let ground: RunGround;
beforeEach(() => {
  ground = new RunGround();
});
afterEach(() => ground.clear());

const soon = <T>(promise: Promise<T>, what: string) => withDeadline(promise, 20_000, what);

describe("a virtual TPM", () => {
  // A comma would end the option in which swtpm is told its socket.
  const name = "web,1";
  const tpmOf = (socket: string) => [
    ...["-chardev", `socket,id=chrtpm,path=${quoteComma(socket)}`],
    ...["-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-tis,tpmdev=tpm0"],
  ];
  test("serves a QEMU, is found by its socket, keeps its state there, and ends with its QEMU", async () => {
    const run = ground.run(name);
    const stateFolder = ground.folder("store/web,1/tpm");
    const tpm = await startSwtpm({ stateFolder, run });
    expect(statSync(tpm.socket).mode & 0o777).toBe(0o600);
    expect(run.noted()?.swtpm).toEqual(tpm.process);
    expect(swtpmOf(tpm.socket)).toEqual({ process: tpm.process, stateFolder });
    expect(swtpmOf(join(ground.home, "another"))).toBeNull();
    const qemu = await ground.start(run, ...tpmOf(tpm.socket));
    expect(await qemu.qmp.execute("query-tpm")).toMatchObject([{ id: "tpm0", model: "tpm-tis" }]);
    expect(swtpmOf(tpm.socket)).toEqual({ process: tpm.process, stateFolder });
    await qemu.qmp.execute("cont");
    await qemu.quit();
    await soon(tpm.ended, "the end of swtpm");
    expect(readdirSync(stateFolder)).toContain("tpm2-00.permall");
    expect(statSync(join(stateFolder, "tpm2-00.permall")).mode & 0o777).toBe(0o600);
    expect(swtpmOf(tpm.socket)).toBeNull();
    await tpm.kill();
  });

  test("follows its state folder to another name, by the link in the run folder", async () => {
    const run = ground.run(name);
    const before = ground.folder("incoming");
    const tpm = await startSwtpm({ stateFolder: before, run });
    const after = join(ground.home, "final");
    renameSync(before, after);
    run.link("tpm-state", after);
    expect(swtpmOf(tpm.socket)).toEqual({ process: tpm.process, stateFolder: after });
    const qemu = await ground.start(run, ...tpmOf(tpm.socket));
    await qemu.qmp.execute("cont");
    await qemu.kill();
    await soon(tpm.ended, "the end of swtpm");
    expect(readdirSync(after)).toContain("tpm2-00.permall");
  });

  test("that was started by hand, with other words for the same things, is found", async () => {
    const state = ground.folder("state");
    for (const [index, words] of [
      [`--tpmstate=backend-uri=dir://${state}`, "--ctrl=mode=0600,type=unixio,path=./0", "--log", "level=1"],
      ["--tpmstate", "mode=0600,dir=state", "--ctrl", `type=unixio,path=${ground.home}/1`],
    ].entries()) {
      const pidFile = `${ground.home}/${index}.pid`;
      const child = startChild(["swtpm", "socket", "--tpm2", ...words, "--pid", `file=${pidFile}`], {
        cwd: ground.home,
      });
      const listening = (async () => {
        while (!existsSync(pidFile)) {
          if (await Promise.race([child.exit, Bun.sleep(5)])) throw new Error(child.stderr());
        }
      })();
      await soon(listening, "swtpm");
      const found = swtpmOf(join(ground.home, String(index)))!;
      expect({ pid: found.process.pid, stateFolder: found.stateFolder }).toEqual({
        pid: child.pid,
        stateFolder: state,
      });
      await endSwtpm(found.process);
      await soon(child.exit, "the end of swtpm");
      await endSwtpm(found.process);
    }
  });

  test("that cannot start says why, without local paths, and leaves nothing", async () => {
    const run = ground.run(name);
    const noState = await failureOf(startSwtpm({ stateFolder: join(ground.home, "none"), run }));
    expect(noState).toMatchObject({ code: "qemu-failed" });
    expect(noState.message).toBe("The virtual TPM has no folder for its state.");
    const stateFolder = ground.folder("state");
    const none = await failureOf(startSwtpm({ stateFolder, run, program: "/nowhere/swtpm" }));
    expect(none.message).toBe("swtpm is not installed.");
    // It takes none of swtpm's options, and says so.
    const other = await failureOf(startSwtpm({ stateFolder, run, program: "/usr/bin/qemu-img" }));
    expect(other.code).toBe("qemu-failed");
    expect(other.message).toMatch(/^The virtual TPM ended at its start: qemu-img: /);
    expect(isRunning(run.noted()!.swtpm!)).toBe(false);
  });

  test("that another user claims to run for a socket is believed only for that user's own", async () => {
    const [socket, state] = [join(ground.home, "socket"), ground.folder("state")];
    await Bun.write(socket, "");
    const words = ["--ctrl", `type=unixio,path=${socket}`, "--tpmstate", `dir=${state}`];
    const claim = (...before: string[]) =>
      startChild([...before, "bash", "-c", 'exec -a swtpm perl -e "sleep 600" -- "$@"', "bash", ...words]);
    const shows = async (claimant: Child) => {
      const renamed = () => readFileSync(`/proc/${claimant.pid}/cmdline`, "utf8").startsWith("swtpm");
      await until(renamed, "the claim");
      return swtpmOf(socket)?.process.pid;
    };
    const own = claim();
    expect(await shows(own)).toBe(own.pid);
    await own.kill();
    chmodSync(ground.home, 0o755);
    const stranger = claim("setpriv", "--reuid=65534", "--clear-groups");
    expect(await shows(stranger)).toBeUndefined();
    chownSync(socket, 65534, 65534);
    expect(await shows(stranger)).toBeUndefined();
    chownSync(state, 65534, 65534);
    expect(await shows(stranger)).toBe(stranger.pid);
    await stranger.kill();
  });

  test("that an earlier process left behind on the same socket is ended first", async () => {
    const run = ground.run(name);
    const first = await startSwtpm({ stateFolder: ground.folder("first"), run });
    const second = await startSwtpm({ stateFolder: ground.folder("second"), run });
    await soon(first.ended, "the end of the first");
    expect(swtpmOf(second.socket)?.process).toEqual(second.process);
    await second.kill();
    await soon(second.ended, "the end of the second");
  });
});
