/** This very program as a file that another host can run: what is copied there, and known there by its hash. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { MigrateError } from "../protocol/errors.ts";

export interface OwnProgram {
  bytes: number;
  /** SHA-256, 64 hex digits. */
  hash: string;
  /** Where it is read from. */
  path: string;
}

const readBytes = 1024 * 1024;

/**
 * Reads it; `self` is the command that starts this program. Throws MigrateError "policy" if it runs from its sources:
 * they need more there than is copied.
 */
export async function ownProgram(self: readonly string[]): Promise<OwnProgram> {
  const [path = "", ...rest] = self;
  if (rest.length > 0) {
    throw new MigrateError(
      "policy",
      "this migrate runs from its sources, which cannot be copied to another host",
      {
        side: "source",
        hint: "Build it (bun run build), and use dist/migrate.",
      },
    );
  }
  // The link of proc(5) leads to what runs, even if a new version lies at its path by now.
  const running = "/proc/self/exe";
  const file = path === process.execPath && existsSync(running) ? running : path;
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of createReadStream(file, { highWaterMark: readBytes })) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { bytes, hash: hash.digest("hex"), path: file };
}
