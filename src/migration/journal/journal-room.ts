/**
 * Room on the disk that is the journal's own: a disk that runs full must not keep a host from recording who
 * owns a VM.
 *
 * SQLite writes every transaction to the end of the write-ahead log (sqlite.org/wal.html), and moves it into the
 * database later; that this fails on a full disk does not matter to the transaction. So the blocks behind the
 * log's end are taken in advance. Nobody else can take them in between, as they could if a file was deleted to
 * make room.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { reserveBytes } from "../../platform/files/holes.ts";

/** Some 200 records of a handover. */
export const journalRoomBytes = 1024 * 1024;

/**
 * Takes `journalRoomBytes` behind the end of the log of the journal at `path`. Does nothing on a file system that
 * cannot, or if there is no log. Throws as node:fs does, "ENOSPC" and "EDQUOT" if the room is not there.
 */
export function reserveJournalRoom(path: string): void {
  let fd: number;
  try {
    fd = openSync(`${path}-wal`, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return;
    throw thrown;
  }
  try {
    reserveBytes(fd, fstatSync(fd).size, journalRoomBytes);
  } finally {
    closeSync(fd);
  }
}
