/** Some VMs moved at the same time to one serve, measured. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { killChildren, runChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { type MigrateProcess, runMigrate } from "../../support/system/process.ts";
import { endedWell } from "../contender.ts";
import { unmark } from "../inputs/unmarked.ts";
import { cpuMsOfEnded, MemoryWatches } from "../processes.ts";
import { cpuMsOf } from "../qemu/cpu-time.ts";

export interface Moves {
  /** From the start of the first source's process until the last one has ended well. */
  seconds: number;
  /** All sources together. */
  sourceCpuMs: number;
  destinationCpuMs: number;
  /** Of the source that took most. */
  sourcePeakBytes: number;
  destinationPeakBytes: number;
}

const deadlineMs = 1_800_000;

/**
 * Moves each file as the disk of a VM of its own, all at the same time, between two hosts that have
 * met before. Works in a folder that it makes and removes. With `compare`, the bytes are compared
 * after the clock has stopped. Afterwards no child of this process runs any more.
 * Throws where a move fails, is not done in 30 minutes, or delivers other bytes.
 */
export async function measureMoves(
  paths: readonly string[],
  folder: string,
  compare: boolean,
): Promise<Moves> {
  for (const path of paths) unmark(path);
  const [store, home] = [join(folder, "store"), join(folder, "source-home")];
  mkdirSync(store, { recursive: true });
  const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--store", store, "--max-sessions", "256", "--json"];
  const serve = runMigrate(serveArgs, { home: join(folder, "destination-home") });
  const watches = new MemoryWatches();
  const send = (name: string, path: string, flags: string[] = []): MigrateProcess => {
    const words = ["send", "--name", name, "--disk", path, address, ...flags, "--after", "keep", "--json"];
    return runMigrate(words, { home });
  };
  let address = "";
  try {
    const listening = await serve.waitFor("listening");
    address = listening.address;
    const first = join(folder, "first.raw");
    writeFileSync(first, new Uint8Array(4096));
    await endedWell(send("first", first, ["--ticket", listening.ticket ?? ""]), "the pairing");

    const destinationMemory = watches.watch(serve.pid);
    const cpuBefore = cpuMsOf(serve.pid);
    const begun = performance.now();
    const moves = paths.map((path, index) => send(`vm${index + 1}`, path));
    const sourceMemory = moves.map(({ pid }) => watches.watch(pid));
    const ends = Promise.all(moves.map((move) => endedWell(move, "send")));
    await withDeadline(ends, deadlineMs, `the end of ${paths.length} moves`);
    const seconds = (performance.now() - begun) / 1000;
    const destinationCpuMs = cpuMsOf(serve.pid) - cpuBefore;
    if (compare) {
      for (const [index, path] of paths.entries())
        await runChild(["cmp", path, join(store, `vm${index + 1}`, basename(path))]);
    }
    return {
      seconds,
      sourceCpuMs: moves.reduce((sum, move) => sum + cpuMsOfEnded(move), 0),
      destinationCpuMs,
      sourcePeakBytes: Math.max(...sourceMemory.map((memory) => memory.stop())),
      destinationPeakBytes: destinationMemory.stop(),
    };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${message}; the destination wrote: ${serve.stderr().trim() || "nothing"}`);
  } finally {
    watches.stop();
    await killChildren();
    rmSync(folder, { recursive: true, force: true });
  }
}
