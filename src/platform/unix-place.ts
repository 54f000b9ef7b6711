/**
 * The path of a unix socket on which one process listens: nobody else can connect before its rights are right, what a
 * dead process left there is replaced, and what a live one has is left alone. Longer paths than the 107 bytes of
 * sun_path (unix(7)) will do: Bun reaches them through their folder.
 */
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdtempSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { tryFlock } from "./files/locks.ts";
import { errno, SystemError } from "./libc.ts";
import { isListenedAt } from "./peer-process.ts";

/** How long another process may take over the same folder, in milliseconds; it takes a few. */
const patienceMs = 5_000;
const retryMs = 10;

/** Paths that are claimed for one process, until it listens on all of them. */
export class SocketClaims {
  /** The folders that are locked, by their real paths: a lock keeps out its own process, too. */
  readonly #folders = new Map<string, number>();

  /**
   * Makes sure that nobody listens at `path`, and that nobody else begins to before `release`, if they claim it too
   * (flock(2) on the folder). Throws a SystemError: EADDRINUSE if somebody listens there, EEXIST if what stands there is no
   * socket, EAGAIN if the folder stays locked; and as node:fs does.
   */
  async claim(path: string): Promise<void> {
    const folder = realpathSync(dirname(path));
    if (!this.#folders.has(folder)) this.#folders.set(folder, await locked(folder));
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && !stat.isSocket()) throw new SystemError("bind", errno.EEXIST);
    if (stat !== undefined && isListenedAt(path)) throw new SystemError("bind", errno.EADDRINUSE);
  }

  /** Idempotent; never throws. */
  release(): void {
    for (const fd of this.#folders.values()) closeSync(fd);
    this.#folders.clear();
  }
}

async function locked(folder: string): Promise<number> {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  const giveUpAtMs = performance.now() + patienceMs;
  while (!tryFlock(fd)) {
    if (performance.now() > giveUpAtMs) {
      closeSync(fd);
      throw new SystemError("flock", errno.EAGAIN);
    }
    await Bun.sleep(retryMs);
  }
  return fd;
}

/**
 * Has `listen` listen in a folder that is ours alone (mode 0700), and gives the socket its mode (0600) and then its
 * name (rename(2)), in place of a socket that stands there. Returns what `listen` returned. Throws what that throws,
 * and as node:fs does.
 */
export function listenInPlace<Listening extends { stop(force: boolean): void }>(
  path: string,
  listen: (temporary: string) => Listening,
): Listening {
  const folder = mkdtempSync(join(dirname(path), ".m-"));
  let listening: Listening | undefined;
  try {
    const temporary = join(folder, "s");
    listening = listen(temporary);
    chmodSync(temporary, 0o600);
    renameSync(temporary, path);
    return listening;
  } catch (thrown) {
    listening?.stop(true);
    throw thrown;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Remembers which socket stands at `path`; the function that it returns removes that one, and no other. Never throws. */
export function removerOf(path: string): () => void {
  const inodeOf = () => lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
  const inode = inodeOf();
  return () => {
    try {
      if (inode !== undefined && inodeOf() === inode) unlinkSync(path);
    } catch {
      // Its folder may be gone already, and the socket with it.
    }
  };
}
