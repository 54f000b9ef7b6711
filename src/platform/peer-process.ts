/** Connecting to a unix socket, and which process is at its other end. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { close, connect, errno, getsockopt, systemError } from "./libc.ts";
import { type ProcessId, processId } from "./process-id.ts";
import { openUnixSocket, unixAddress } from "./unix-socket.ts";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred (unix(7)): pid i32, uid u32, gid u32. */
const ucredBytes = 12;

/**
 * Calls the unix socket at this path (at most 107 bytes) and returns the connection's descriptor, which the
 * caller closes: unix(7), connect(2). Never waits; what it returns does not block either. Throws a SystemError:
 * ENOENT (no such file), ECONNREFUSED (nobody listens, or it is no socket), EACCES, EAGAIN (the queue of
 * callers is full), EINVAL (a NUL in the path), ENAMETOOLONG.
 */
export function callUnixSocket(path: string): number {
  const address = unixAddress(path, "connect");
  const fd = openUnixSocket();
  const answer = connect(fd, address);
  if (answer >= 0) return fd;
  close(fd);
  throw systemError("connect", answer);
}

/**
 * False where certainly nobody listens at this path. Bun.connect says ECONNREFUSED of a listener whose queue of callers is
 * full as well; connect(2) says EAGAIN of that. A connection that comes of the question is closed at once. Never throws.
 */
export function isListenedAt(path: string): boolean {
  try {
    close(callUnixSocket(path));
    return true;
  } catch (thrown) {
    return !["ENOENT", "ECONNREFUSED"].includes((thrown as { code?: string }).code ?? "");
  }
}

/**
 * The process at the other end of such a connection: unix(7), SO_PEERCRED, which names whoever called
 * listen(2), not somebody that was handed the socket later. Throws a SystemError: ESRCH if that process
 * is gone, or lives where we cannot see it.
 */
export function peerOf(fd: number): ProcessId {
  // 0 stands for a process of another PID namespace.
  const id = processId(credentialsOf(fd).getInt32(0, true));
  if (id === null) throw systemError("getsockopt SO_PEERCRED", -errno.ESRCH);
  return id;
}

/** The effective user that `peerOf` had when it called listen(2). Throws a SystemError. */
export function peerUidOf(fd: number): number {
  return credentialsOf(fd).getUint32(4, true);
}

function credentialsOf(fd: number): DataView {
  const ucred = new Uint8Array(ucredBytes);
  const answer = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred);
  if (answer < 0) throw systemError("getsockopt SO_PEERCRED", answer);
  return new DataView(ucred.buffer);
}

/**
 * The process that listens on the unix socket at this path, as the two above, and throws what they throw.
 * It connects and closes at once without sending anything. A server that serves one caller at a time has that call
 * in its queue until it accepts again: if you have a connection, ask `peerOf`.
 */
export function peerProcess(socketPath: string): ProcessId {
  const fd = callUnixSocket(socketPath);
  try {
    return peerOf(fd);
  } finally {
    close(fd);
  }
}

/** A line of /proc/net/unix (proc(5)) of a socket that listens: its flag, its inode, the path that it was bound to. */
const listening = /^\S+: \S+ \S+ 00010000 \S+ \S+ +(\d+) (.*)$/gm;

/**
 * A process that has open what listens at this path (absolute, as it was bound), without calling there: a server that
 * serves one caller at a time may have no place for a second one. Null if none is to be seen. Never throws.
 */
export function processListeningAt(socketPath: string): ProcessId | null {
  try {
    for (const [, inode, path] of readFileSync("/proc/net/unix", "utf8").matchAll(listening)) {
      if (path !== socketPath) continue;
      const holder = readdirSync("/proc").find(
        (pid) => /^\d+$/.test(pid) && hasOpen(pid, `socket:[${inode}]`),
      );
      return holder === undefined ? null : processId(Number(holder));
    }
  } catch {
    // Without /proc nothing is known.
  }
  return null;
}

function hasOpen(pid: string, what: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === what);
  } catch {
    // It is gone, or another user's, or has just closed one.
    return false;
  }
}
