/** A file of a VM that somebody else may hold. */
import { statSync } from "node:fs";
import { basename } from "node:path";
import type { VmPart } from "../../../src/vm/holders/file-holders.ts";

/** A file as `requireUnheld` takes it. */
export function vmPart(path: string, leaves = true): VmPart {
  const { dev, ino } = statSync(path, { bigint: true });
  return { path, base: basename(path), dev, ino, leaves };
}
