/**
 * What a file of a VM says of itself once its host has let go of it: the session that released it, and to whom.
 * It is kept in the file itself (an extended attribute), so that a journal that is lost, or restored from a
 * backup, cannot undo a release: the same file under any name still says so.
 */
import { closeSync, constants, fsyncSync, openSync } from "node:fs";
import * as v from "valibot";
import { getAttribute, removeAttribute, setAttribute } from "../../platform/files/xattr.ts";
import { identityOf, isSameFile } from "./file-identity.ts";

const attribute = "user.migrate.released";

const schema = v.object({
  /** The session's id. */
  session: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  /** The fingerprint of the destination, or "insecure". */
  to: v.pipe(v.string(), v.regex(/^(sha256:[0-9a-f]{64}|insecure)$/)),
});
export type ReleaseMark = v.InferOutput<typeof schema>;

/**
 * Writes the mark into a file or folder. It reaches the disk when the file system next commits: waiting for that
 * (fsync(2)) would write out whatever else of the file is in memory, while a VM that was stopped waits. The release
 * itself is durable in the journal by then; the mark is for a journal that is lost or restored later. With `only`, an
 * identity (file-identity.ts), no other file is marked. Returns false if the file system keeps no attributes, or it
 * is another file. Throws an error with a `code` if there is no such file or it may not be opened.
 */
export function markReleased(path: string, mark: ReleaseMark, only?: string): boolean {
  return withFile(
    path,
    (fd) =>
      (only === undefined || isSameFile(identityOf(fd), only)) &&
      setAttribute(fd, attribute, JSON.stringify(mark)),
  );
}

/** The mark of a file; null if it has none or cannot be looked at. */
export function releaseMark(path: string): ReleaseMark | null {
  try {
    const text = withFile(path, (fd) => getAttribute(fd, attribute));
    const result = v.safeParse(schema, text === null ? null : JSON.parse(text));
    return result.success ? result.output : null;
  } catch {
    return null;
  }
}

/** Takes the mark of this session away, if the file is there and has it. Throws as `markReleased`. */
export function unmarkReleased(path: string, session: string): void {
  if (releaseMark(path)?.session !== session) return;
  withFile(path, (fd) => {
    removeAttribute(fd, attribute);
    fsyncSync(fd);
  });
}

function withFile<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}
