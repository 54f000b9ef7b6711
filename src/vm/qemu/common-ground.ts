/**
 * A folder for sockets to which a QEMU can connect that has files, or a user, of its own: beside its QMP socket,
 * which it has in its view as we have it in ours.
 */
import { randomBytes } from "node:crypto";
import { readlinkSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ProcessId } from "../../platform/process-id.ts";

export interface CommonFolder {
  /** A new one: others may make names beside it. */
  folder: string;
  isNew: true;
  /** The user whose QEMU connects; absent if it is this program's own. */
  uid?: number | undefined;
}

/**
 * Returns a new name in the folder of its QMP socket, for a QEMU that sees other mounts than this process and has
 * that folder in common with it; null for any other. The folder must be this user's, so that what is made in it is
 * not somebody else's doing.
 */
export function commonGround(process: ProcessId, qmpPath: string): CommonFolder | null {
  try {
    if (mountsOf(process.pid) === mountsOf("self")) return null;
    const folder = dirname(qmpPath);
    const [here, there] = [statSync(folder), statSync(`/proc/${process.pid}/root${folder}`)];
    const isCommon = here.dev === there.dev && here.ino === there.ino;
    if (!isCommon || here.uid !== globalThis.process.geteuid?.()) return null;
    const { uid } = statSync(`/proc/${process.pid}`);
    return {
      folder: join(folder, `send-${randomBytes(8).toString("hex")}`),
      isNew: true,
      ...(uid === here.uid ? {} : { uid }),
    };
  } catch {
    // It is another user's, or has ended: what needs it says so.
    return null;
  }
}

function mountsOf(pid: number | "self"): string {
  return readlinkSync(`/proc/${pid}/ns/mnt`);
}
