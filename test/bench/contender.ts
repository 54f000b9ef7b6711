/** What a contender is to the benchmark: a way to get a file's bytes to the other side. */
import type { Child, ChildExit } from "../support/child.ts";
import type { Tool } from "../support/needs.ts";
import type { Input } from "./inputs.ts";

/** One side's process, as far as it is measured. */
export type Process = Pick<Child, "pid" | "exit" | "cpuMs" | "signal" | "stderr">;

export interface Attempt {
  /** Where the bytes must be at the end. */
  arrivedPath: string;
  /** The other side; absent where one process does it all. */
  destination?: Process;
  /** Starts the source: the clock starts with it. */
  start(): Process;
  /**
   * Called once the source has ended well; settles when the destination has every byte. The clock
   * stops with it.
   */
  arrived(): Promise<void>;
  /** After the clock: lets the destination end, so that its CPU time is known. */
  finish(): Promise<void>;
  /** What the contender itself counted on the wire, if it does. */
  reportedWireBytes?(): number | undefined;
}

export interface Contender {
  /** As --contenders names it. */
  name: string;
  /** As the table names it. */
  title: string;
  needs: Tool[];
  /** Gets the destination ready in a folder of its own. Throws where it does not come up. */
  prepare(input: Input, folder: string): Promise<Attempt>;
}

/** Waits for a process's end. Throws what it wrote on standard error where it did not end well. */
export async function endedWell(process: Process, what: string): Promise<void> {
  const { code, signal }: ChildExit = await process.exit;
  if (code !== 0) throw new Error(`${what} ended with ${code ?? signal}: ${process.stderr().trim()}`);
}
