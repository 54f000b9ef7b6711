/**
 * A unix socket that is listened on without Bun's event loop, so that the descriptor of a connection
 * can be handed as a plain number to any Worker. Bun.listen keeps its connections to the thread that
 * accepted them; Bun.connect({ fd }) takes a descriptor over in whichever thread calls it.
 */
import { chmodSync, lchownSync, lstatSync, unlinkSync } from "node:fs";
import { accept4, bind, close, errno, listen, SystemError, systemError } from "./libc.ts";
import { openUnixSocket, SOCK_CLOEXEC, SOCK_NONBLOCK, unixAddress } from "./unix-socket.ts";

/** Connections that may wait until somebody accepts them. */
const backlog = 64;
/** How often a connection is looked for while somebody waits for one. */
const pollMs = 2;

interface Waiter {
  resolve(fd: number): void;
  reject(reason: unknown): void;
}

export class UnixListener {
  readonly path: string;
  readonly #fd: number;
  /** Which file is ours, so that one that somebody put in its place is left alone. */
  readonly #inode: bigint;
  readonly #waiters: Waiter[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(path: string, fd: number, inode: bigint) {
    this.path = path;
    this.#fd = fd;
    this.#inode = inode;
  }

  /**
   * Listens on `path` (at most 107 bytes of UTF-8), which only this user may connect to (mode 0600), or the user
   * `uid` and root. A
   * socket that stands there is taken for one that a dead process left behind and is replaced;
   * anything else that stands there is left (EADDRINUSE). socket(2), bind(2), listen(2). Throws a
   * SystemError, ENAMETOOLONG for a path that is too long, or as node:fs does.
   */
  static listen(path: string, uid?: number): UnixListener {
    const address = unixAddress(path, "bind");
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
    const fd = openUnixSocket();
    let bound = false;
    try {
      checked("bind", bind(fd, address));
      bound = true;
      // Before listen(2) nobody can connect, so there is no moment in which others could.
      chmodSync(path, 0o600);
      if (uid !== undefined) lchownSync(path, uid, lstatSync(path).gid);
      checked("listen", listen(fd, backlog));
      return new UnixListener(path, fd, lstatSync(path, { bigint: true }).ino);
    } catch (thrown) {
      close(fd);
      if (bound) unlinkSync(path);
      throw thrown;
    }
  }

  /**
   * The descriptor (non-blocking, close-on-exec) of the next connection; those who wait get them in
   * the order in which they asked, and the connections come in the order of their arrival. Whoever
   * gets one must close it. accept4(2). Rejects with a SystemError ETIMEDOUT after `timeoutMs`,
   * ECANCELED if the listener is or gets closed, EMFILE or ENFILE if there are no descriptors
   * left; with the signal's reason if that aborts. A rejected wait has taken no connection.
   */
  accept({ timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<number> {
    if (this.#closed) return Promise.reject(new SystemError("accept4", errno.ECANCELED));
    if (signal?.aborted) return Promise.reject(signal.reason);
    const answer = Promise.withResolvers<number>();
    const waiter: Waiter = { resolve: answer.resolve, reject: answer.reject };
    this.#waiters.push(waiter);
    const abort = () => this.#refuse(waiter, signal?.reason);
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => this.#refuse(waiter, new SystemError("accept4", errno.ETIMEDOUT)), timeoutMs);
    signal?.addEventListener("abort", abort);
    this.#look();
    return answer.promise.finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    });
  }

  /** Stops listening, refuses those who wait (ECANCELED) and removes the path. Idempotent; never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.#fd);
    this.#refuseAll(new SystemError("accept4", errno.ECANCELED));
    try {
      if (lstatSync(this.path, { bigint: true }).ino === this.#inode) unlinkSync(this.path);
    } catch {
      // Its folder may be gone already, and the socket with it.
    }
  }

  /** Takes connections for those who wait; comes again while there are any. */
  #look(): void {
    clearTimeout(this.#timer);
    while (this.#waiters.length > 0) {
      const answer = accept4(this.#fd, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (answer >= 0) this.#waiters.shift()?.resolve(answer);
      else if (answer === -errno.EAGAIN) {
        this.#timer = setTimeout(() => this.#look(), pollMs);
        return;
      }
      // That a connection was gone again before it was accepted does not concern the next one.
      else if (answer !== -errno.EINTR && answer !== -errno.ECONNABORTED) {
        this.#refuseAll(systemError("accept4", answer));
      }
    }
  }

  /** Refuses one of those who wait; nothing if it has been answered. */
  #refuse(waiter: Waiter, reason: unknown): void {
    const at = this.#waiters.indexOf(waiter);
    if (at < 0) return;
    this.#waiters.splice(at, 1);
    waiter.reject(reason);
    if (this.#waiters.length === 0) clearTimeout(this.#timer);
  }

  #refuseAll(reason: SystemError): void {
    clearTimeout(this.#timer);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
  }
}

function checked(call: string, answer: number): number {
  if (answer < 0) throw systemError(call, answer);
  return answer;
}
