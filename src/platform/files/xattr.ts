/** Extended attributes of files (xattr(7)), in the `user.` namespace: they stay with a file when it is renamed. */
import { errno, fgetxattr, fremovexattr, fsetxattr, systemError } from "../libc.ts";

/** Far above what this program writes; a longer value is somebody else's. */
const mostValueBytes = 1024;

const cName = (name: string) => Buffer.from(`${name}\0`);

/**
 * Writes an attribute. Returns false if the file system has none (EOPNOTSUPP), the kind of file may have none
 * (EPERM: devices, links) or it has no room for it. Throws an error with the errno's name as `code` otherwise.
 * Not durable before fsync(2) on the file.
 */
export function setAttribute(fd: number, name: string, value: string): boolean {
  const answer = fsetxattr(fd, cName(name), Buffer.from(value));
  if (answer >= 0) return true;
  if ([errno.EOPNOTSUPP, errno.EPERM, errno.ERANGE, errno.E2BIG].includes(-answer)) return false;
  throw systemError(`fsetxattr ${name}`, answer);
}

/** The attribute's value; null if there is none, or none that this program wrote. Throws as `setAttribute`. */
export function getAttribute(fd: number, name: string): string | null {
  const room = Buffer.alloc(mostValueBytes);
  const answer = fgetxattr(fd, cName(name), room);
  if (answer >= 0) return room.toString("utf8", 0, answer);
  if ([errno.ENODATA, errno.EOPNOTSUPP, errno.ERANGE, errno.EPERM].includes(-answer)) return null;
  throw systemError(`fgetxattr ${name}`, answer);
}

/** Takes an attribute away; without one nothing happens. Throws as `setAttribute`. */
export function removeAttribute(fd: number, name: string): void {
  const answer = fremovexattr(fd, cName(name));
  if (answer >= 0 || [errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM].includes(-answer)) return;
  throw systemError(`fremovexattr ${name}`, answer);
}
