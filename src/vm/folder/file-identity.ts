/** Which file a path leads to, so that it is recognised under another name. */
import { lstatSync } from "node:fs";

/** "dev:ino:birthtimeNs" of what lies at `path`, a link not followed (inode(7)); null if there is nothing. */
export function fileIdentity(path: string): string | null {
  try {
    const { dev, ino, birthtimeNs } = lstatSync(path, { bigint: true });
    return `${dev}:${ino}:${birthtimeNs}`;
  } catch {
    return null;
  }
}
