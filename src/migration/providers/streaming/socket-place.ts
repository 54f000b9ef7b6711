/**
 * Where the sockets lie to which a VM's QEMU connects: below MIGRATE_HOME, which only this user may enter, or, for a
 * QEMU of another user, in a folder that lets everybody pass, with sockets that only that user may connect to.
 */
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";

export interface SocketPlace {
  folder: string;
  /** The user whose QEMU connects; absent if it is this program's own. */
  uid?: number | undefined;
  /** True if there must be no such folder yet: others may make names beside it. */
  isNew?: boolean | undefined;
}

/** Root alone makes folders there, and it does not outlive a boot: hier(7). */
const forOthers = "/run/migrate";

/** The place for a session's sockets. `uid` is the user that QEMU runs as, if that is another one. */
export function socketPlace(home: string, session: string, uid: number | undefined): SocketPlace {
  const name = session.slice(0, 16);
  return uid === undefined
    ? { folder: join(home, "sessions", name) }
    : { folder: join(forOthers, name), uid };
}

/**
 * Makes the folder, if there is none. Throws MigrateError "home-unusable" if others could put files into it, and as
 * node:fs does.
 */
export function makeSocketFolder({ folder, uid, isNew = false }: SocketPlace): void {
  mkdirSync(folder, { recursive: !isNew, mode: uid === undefined ? 0o700 : 0o711 });
  if (uid === undefined) return;
  if (isNew) {
    chmodSync(folder, 0o711);
    return;
  }
  for (const path of [dirname(folder), folder]) {
    const stat = lstatSync(path);
    if (stat.isDirectory() && stat.uid === process.geteuid!() && (stat.mode & 0o022) === 0) {
      // Whatever the umask took away.
      chmodSync(path, 0o711);
      continue;
    }
    throw new MigrateError("home-unusable", `${path} is not root's own folder`, {
      side: "source",
      hint: "sockets for the VM's QEMU would lie there; remove it",
    });
  }
}
