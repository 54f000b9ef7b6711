/** How this program is started where nobody has said so. */
import { join } from "node:path";

/** As main.ts finds it out: the binary, or bun and the main file. */
export function ownCommand(): string[] {
  return Bun.main.startsWith("/$bunfs/")
    ? [process.execPath]
    : [process.execPath, join(import.meta.dir, "../../main.ts")];
}
