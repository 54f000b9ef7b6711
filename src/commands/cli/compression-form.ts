/** How much a migration compresses, as a flag's value. */
import { MigrateError } from "../../protocol/errors.ts";
import { type Compression, highestLevel } from "../../transfer/compression/compression.ts";

/** What the help says of it. */
export const compressionForm = `auto|off|1..${highestLevel}`;

/**
 * "auto", "off" or a level from 1 to 19.
 * @throws MigrateError "usage"; its message ends a sentence that begins with the flag.
 */
export function parseCompression(text: string): Compression {
  if (text === "auto" || text === "off") return text;
  const level = /^[1-9]\d?$/.test(text) ? Number(text) : 0;
  if (level >= 1 && level <= highestLevel) return level;
  throw new MigrateError("usage", `must be auto, off or a level from 1 to ${highestLevel}, not "${text}"`);
}
