/**
 * Whether a unix socket that takes no connection has somebody who listens: connect(2) says EAGAIN where the listener's
 * queue is full, and Bun.connect says ECONNREFUSED of that as of a socket that nobody listens on.
 */
import { close, connect, errno } from "./libc.ts";
import { openUnixSocket, unixAddress } from "./unix-socket.ts";

/**
 * True where somebody listens at `path`, with room for another connection or without. A connection that comes of the
 * question is closed at once. Throws a SystemError for a path that no socket can have, and for want of descriptors.
 */
export function isListenedAt(path: string): boolean {
  const address = unixAddress(path, "connect");
  const fd = openUnixSocket();
  try {
    const answer = connect(fd, address);
    return answer >= 0 || answer === -errno.EAGAIN;
  } finally {
    close(fd);
  }
}
