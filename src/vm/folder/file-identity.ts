/** Which file a path leads to, so that it is recognised under another name, and after the host has booted again. */
import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs";
import { fileHandle, fileSystemId } from "../../platform/files/file-handle.ts";

/** What of a file stays the same for as long as it exists. */
interface Identity {
  ino: string;
  /** In nanoseconds; "0" if the file system keeps none. */
  birthtimeNs: string;
  /** Of its file system; "" if that has none. */
  fileSystem: string;
  handle: string;
  /** The device number: only for a file of which nothing better is known, or that version 0.1.0 recorded. */
  dev: string;
}

const version = "v2";

/**
 * "v2:INO:BIRTHTIME_NS:FILE_SYSTEM:HANDLE:DEV" of what lies at `path`, a link not followed (inode(7),
 * platform/file-handle.ts); parts that are not known are empty. Null if there is nothing. Version 0.1.0 wrote
 * "DEV:INO:BIRTHTIME_NS". Compare with `isSameFile` alone.
 */
export function fileIdentity(path: string): string | null {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    return identityOf(fd);
  } catch {
    return identityUnopened(path);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Of what may not be opened, or cannot be: a link, a socket. */
function identityUnopened(path: string): string | null {
  try {
    return textOf(lstatSync(path, { bigint: true }), "", "");
  } catch {
    return null;
  }
}

/** `fileIdentity` of what `fd` refers to, which is open for reading. */
export function identityOf(fd: number): string {
  return textOf(fstatSync(fd, { bigint: true }), fileSystemId(fd) ?? "", fileHandle(fd) ?? "");
}

function textOf({ ino, birthtimeNs, dev }: BigIntStats, fileSystem: string, handle: string): string {
  const lasts = fileSystem !== "" || handle !== "" || birthtimeNs !== 0n;
  return [version, ino, birthtimeNs, fileSystem, handle, lasts ? "" : dev].join(":");
}

/**
 * True if both identities are of one file: nothing that both know differs, and more than the inode's number, which is
 * given out again, is the same. False if one is missing.
 */
export function isSameFile(one: string | null | undefined, other: string | null | undefined): boolean {
  const [a, b] = [parse(one), parse(other)];
  if (a === null || b === null || a.ino !== b.ino) return false;
  const parts = (["birthtimeNs", "fileSystem", "handle"] as const).filter(
    (part) => isKnown(a[part]) && isKnown(b[part]),
  );
  if (parts.some((part) => a[part] !== b[part])) return false;
  return parts.length > 0 || (a.dev !== "" && a.dev === b.dev);
}

function isKnown(part: string): boolean {
  return part !== "" && part !== "0";
}

function parse(text: string | null | undefined): Identity | null {
  const parts = text?.split(":") ?? [];
  if (parts[0] === version && parts.length === 6) {
    const [, ino = "", birthtimeNs = "", fileSystem = "", handle = "", dev = ""] = parts;
    return { ino, birthtimeNs, fileSystem, handle, dev };
  }
  if (parts.length !== 3) return null;
  const [dev = "", ino = "", birthtimeNs = ""] = parts;
  return { ino, birthtimeNs, fileSystem: "", handle: "", dev };
}
