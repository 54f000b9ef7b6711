/** What a contender moves. */
import { statSync } from "node:fs";

export interface Input {
  name: string;
  path: string;
  /** What it is to the VM: it decides the flag of `send`. */
  kind: "ram" | "disk";
  sparse: boolean;
  /** Logical size. */
  bytes: number;
  /** Room that it takes. */
  allocatedBytes: number;
  /** For the table's heading. */
  title: string;
  /** What the destination has before: an older version of the same disk, or the image it was made from. */
  before?: { path: string; kind: "base" | "same"; title: string };
}

/** Completes an input by what its file says. */
export function describeInput(input: Omit<Input, "bytes" | "allocatedBytes">): Input {
  const { size, blocks } = statSync(input.path);
  return { ...input, bytes: size, allocatedBytes: blocks * 512 };
}
