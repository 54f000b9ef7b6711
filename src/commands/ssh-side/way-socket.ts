/**
 * Where a serve listens for those who come by ssh: a unix socket that the account of the ssh can connect to and nobody
 * else but root, in a folder that no other user can put anything into.
 */
import { createHash } from "node:crypto";
import { chmodSync, lchownSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { socketPathBytes } from "../../platform/unix-socket.ts";
import { MigrateError } from "../../protocol/errors.ts";

/** Gone with the next start of the host, as what listens there is. */
const rootFolder = "/run/migrate-ssh";
const nameCharacters = 16;

/** Who is to connect: the user that sudo was called by (sudo(8), SUDO_UID), else this one. */
export function callerOf(env: Readonly<Record<string, string | undefined>>): number {
  const own = process.getuid?.() ?? -1;
  return own === 0 && /^\d{1,10}$/.test(env.SUDO_UID ?? "") ? Number(env.SUDO_UID) : own;
}

/**
 * The path for this store's serve; its folder is there when this returns. Throws MigrateError "home-unusable" if the
 * folder is somebody else's, or as node:fs does.
 */
export function waySocket(home: string, store: string): string {
  const name = createHash("sha256").update(store).digest("hex").slice(0, nameCharacters);
  if (process.getuid?.() === 0) {
    // Others pass through it: what they may connect to is for each socket to say.
    return join(ownFolder(rootFolder, 0o711), name);
  }
  const inHome = join(home, "ssh");
  if (Buffer.byteLength(join(inHome, name)) <= socketPathBytes) return join(ownFolder(inHome, 0o700), name);
  return join(ownFolder(join(tmpdir(), `migrate-ssh-${process.getuid?.()}`), 0o700), name);
}

/** Lets the caller connect to the socket, which was root's until then. */
export function handOver(socket: string, caller: number): void {
  if (process.getuid?.() === 0 && lstatSync(socket).uid !== caller) lchownSync(socket, caller, -1);
}

/** Made if it is not there; in /tmp and /run somebody else may have been first. */
function ownFolder(path: string, mode: number): string {
  mkdirSync(path, { recursive: true, mode });
  const stat = lstatSync(path);
  if (!stat.isDirectory() || stat.uid !== process.getuid?.()) {
    throw new MigrateError("home-unusable", `${path} is not a folder of this user's`, {
      side: "destination",
      hint: "Remove it there, and run the command again.",
    });
  }
  chmodSync(path, mode);
  return path;
}
