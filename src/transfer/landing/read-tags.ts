/** Tags of files as they lie on the disk: what is there is read, not believed. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { nextData, nextHole } from "../../platform/holes.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import { ChunkBuffer } from "../chunks/chunk-buffer.ts";
import { TagTable } from "../chunks/tag-table.ts";
import { Tagger } from "../chunks/tagger.ts";

/**
 * Reads the file number `file` of a VM and computes its tags under `tagKey`; holes cost nothing. Gives other
 * work a turn between chunks, since this may take as long as the disk is large. `spillFolder` is as for TagTable. Throws as node:fs does.
 */
export async function tagsOf(
  path: string,
  file: number,
  bytes: number,
  tagKey: Uint8Array,
  spillFolder?: string,
): Promise<TagTable> {
  const table = new TagTable(bytes, spillFolder);
  const tagger = new Tagger(tagKey);
  const buffer = new ChunkBuffer();
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    let chunk = 0;
    while (chunk < table.chunks) {
      const dataAt = nextData(fd, chunk * limits.chunkBytes);
      if (dataAt === null) break;
      chunk = Math.floor(dataAt / limits.chunkBytes);
      const end = Math.min(
        table.chunks,
        Math.ceil(Math.max(nextHole(fd, dataAt), dataAt + 1) / limits.chunkBytes),
      );
      for (; chunk < end; chunk++) {
        const length = chunkLength(bytes, chunk);
        readFully(fd, buffer.dataRoom(length), chunk * limits.chunkBytes);
        table.set(chunk, tagger.tag(file, chunk, buffer.pack(length).body));
        if (chunk % 8 === 7) await new Promise<void>((turn) => setImmediate(turn));
      }
    }
  } finally {
    closeSync(fd);
  }
  return table;
}

function readFully(fd: number, room: Buffer, offset: number): void {
  for (let at = 0; at < room.length; ) {
    const taken = readSync(fd, room, at, room.length - at, offset + at);
    if (taken === 0) room.fill(0, at);
    at += taken === 0 ? room.length - at : taken;
  }
}
