/** A folder of its own for each test of a file, with what is prepared in it; nothing of it outlives the test. */
import { afterEach, beforeEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { killChildren } from "./child.ts";

/** Ends what a test has: called before its folder is removed. */
export type Leave = () => unknown;

// biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing has nothing to end.
type Prepared = Leave | void;

/**
 * For the top of a test file or of a describe: before each test `prepare` is called with a new, empty folder
 * whose name begins with `prefix`. After the test its child processes are killed, then what `prepare` returned
 * is called, then the folder is removed. An `afterEach` that is to come before all this stands above the call.
 */
export function eachTestInFolder(
  prefix: string,
  prepare: (folder: string) => Prepared | Promise<Prepared>,
): void {
  let folder: string;
  let leave: Leave | undefined;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), prefix));
    leave = (await prepare(folder)) as Leave | undefined;
  });
  afterEach(async () => {
    await killChildren();
    await leave?.();
    leave = undefined;
    rmSync(folder, { recursive: true, force: true });
  });
}
