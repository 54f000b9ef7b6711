/** A home in which a test runs QEMU and swtpm as a destination does; nothing in it outlives the test. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { endDaemon } from "../../../src/vm/qemu/daemon.ts";
import { type RunningQemu, startQemu } from "../../../src/vm/qemu/launch.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { killChildren } from "../system/child.ts";

/** A machine that is there and does not run. */
export const stoppedMachine = [
  ...["-machine", "pc", "-accel", "tcg", "-m", "32", "-S", "-nodefaults", "-display", "none"],
];

/** QEMU ends an option at a comma; two of them stand for one. */
export const quoteComma = (value: string) => value.replaceAll(",", ",,");

export class RunGround {
  readonly home = mkdtempSync(join(tmpdir(), "migrate-ground-"));

  run(name = "web1"): RunFolder {
    const run = RunFolder.at(this.home, name);
    run.make("session-1");
    return run;
  }

  folder(path: string): string {
    const folder = join(this.home, path);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** Starts a QEMU whose machine does not run, with more options. */
  async start(run: RunFolder, ...more: string[]): Promise<RunningQemu> {
    const qmp = ["-qmp", `unix:${quoteComma(run.socket("qmp"))},server=on,wait=off`];
    return await startQemu(["qemu-system-x86_64", ...stoppedMachine, ...qmp, ...more], run);
  }

  /** Kills what the run folders know of and the test's children, and removes the home. */
  async clear(): Promise<void> {
    await killChildren();
    for (const run of RunFolder.all(this.home)) {
      const noted = run.noted();
      for (const process of [noted?.qemu, noted?.swtpm]) if (process) await endDaemon(process);
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** What the promise fails with. Throws where that is no MigrateError, or it does not fail. */
export async function failureOf(promise: Promise<unknown>): Promise<MigrateError> {
  const thrown = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (thrown instanceof MigrateError) return thrown;
  throw thrown;
}
