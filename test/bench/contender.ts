/** What a contender is to the benchmark: a way to get a file's bytes to the other side. */

import type { Tool } from "../support/runner/needs.ts";
import type { Child, ChildExit } from "../support/system/child.ts";
import type { Input } from "./inputs.ts";
import type { Link } from "./link.ts";

/** One side's process, as far as it is measured. */
export type Process = Pick<Child, "pid" | "exit" | "cpuMs" | "stderr">;

/** What a destination spent on what it has before, ahead of the clock. */
export interface Indexing {
  seconds: number;
  cpuMs: number;
}

export interface Attempt {
  /** Where the bytes must be at the end; absent where they are thrown away. */
  arrivedPath?: string;
  /** The other side; absent where one process does it all. */
  destination?: Process;
  /** Not part of the run's time nor of its CPU time. */
  indexing?: Indexing;
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
  /** Us, what a user would pick instead, or what nobody can be faster than. */
  role: "ours" | "peer" | "limit";
  needs: Tool[];
  /** Whether a row of it says anything for this input. */
  suits(input: Input): boolean;
  /** Gets the destination ready in a folder of its own. Throws where it does not come up. */
  prepare(input: Input, folder: string, link: Link): Promise<Attempt>;
}

/** Whether no contender can make less of it than it is. */
export function isRandom(input: Input): boolean {
  return input.name === "random";
}

/** Waits for a process's end. Throws what it wrote on standard error where it did not end well. */
export async function endedWell(process: Process, what: string): Promise<void> {
  const { code, signal }: ChildExit = await process.exit;
  if (code !== 0) throw new Error(`${what} ended with ${code ?? signal}: ${process.stderr().trim()}`);
}
