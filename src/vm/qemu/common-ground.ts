/**
 * A folder for sockets to which a QEMU can connect that has files, or a user, of its own: beside its QMP socket,
 * which it has in its view as we have it in ours.
 */
import { randomBytes } from "node:crypto";
import { readlinkSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ProcessId } from "../../platform/process-id.ts";

export interface SocketFolder {
  /** There is none of this name yet, or it is this user's alone. */
  path: string;
  /** Whose members connect; null if QEMU runs as this user. */
  group: number | null;
}

/**
 * Returns a new name in the folder of its QMP socket, for a QEMU that sees other mounts than this process and has
 * that folder in common with it; null for any other. The folder must be this user's, so that what is made in it is
 * not somebody else's doing.
 */
export function commonGround(process: ProcessId, qmpPath: string): SocketFolder | null {
  try {
    if (mountsOf(process.pid) === mountsOf("self")) return null;
    const folder = dirname(qmpPath);
    const [here, there] = [statSync(folder), statSync(`/proc/${process.pid}/root${folder}`)];
    const isCommon = here.dev === there.dev && here.ino === there.ino;
    if (!isCommon || here.uid !== globalThis.process.geteuid?.()) return null;
    const { uid } = statSync(`/proc/${process.pid}`);
    return {
      path: join(folder, `send-${randomBytes(8).toString("hex")}`),
      group: uid === here.uid ? null : here.gid,
    };
  } catch {
    // It is another user's, or has ended: what needs it says so.
    return null;
  }
}

function mountsOf(pid: number | "self"): string {
  return readlinkSync(`/proc/${pid}/ns/mnt`);
}
