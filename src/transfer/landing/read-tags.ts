/** Tags of files as they lie on the disk: what is there is read, not believed. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { nextData, nextHole } from "../../platform/files/holes.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import { ChunkBuffer } from "../chunks/chunk-buffer.ts";
import { TagTable } from "../chunks/tag-table.ts";
import { Tagger } from "../chunks/tagger.ts";

/** A file of a VM to be read, and the key under which its chunks are tagged. */
export interface TaggedFile {
  path: string;
  /** Its number in the VM. */
  file: number;
  bytes: number;
  tagKey: Uint8Array;
  /** As for TagTable. */
  spillFolder?: string;
}

/**
 * Reads a file of a VM and computes its tags; holes cost nothing. Gives other work a turn between chunks, since this
 * may take as long as the disk is large. Throws as node:fs does.
 */
export async function tagsOf(tagged: TaggedFile): Promise<TagTable> {
  const table = new TagTable(tagged.bytes, tagged.spillFolder);
  await readTags(tagged, 0, table.chunks, (chunk, tag) => table.set(chunk, tag));
  return table;
}

/** The same of `count` chunks from `first` on; `take` is called for each that is not a hole, in order. */
export async function readTags(
  { path, file, bytes, tagKey }: TaggedFile,
  first: number,
  count: number,
  take: (chunk: number, tag: Uint8Array) => void,
): Promise<void> {
  const tagger = new Tagger(tagKey);
  const buffer = new ChunkBuffer();
  const last = first + count;
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    let chunk = first;
    while (chunk < last) {
      const dataAt = nextData(fd, chunk * limits.chunkBytes);
      if (dataAt === null) break;
      chunk = Math.floor(dataAt / limits.chunkBytes);
      const end = Math.min(last, Math.ceil(Math.max(nextHole(fd, dataAt), dataAt + 1) / limits.chunkBytes));
      for (; chunk < end; chunk++) {
        const length = chunkLength(bytes, chunk);
        readFully(fd, buffer.dataRoom(length), chunk * limits.chunkBytes);
        take(chunk, tagger.tag(file, chunk, buffer.pack(length).body));
        if (chunk % 8 === 7) await new Promise<void>((turn) => setImmediate(turn));
      }
    }
  } finally {
    closeSync(fd);
  }
}

function readFully(fd: number, room: Buffer, offset: number): void {
  for (let at = 0; at < room.length; ) {
    const taken = readSync(fd, room, at, room.length - at, offset + at);
    if (taken === 0) room.fill(0, at);
    at += taken === 0 ? room.length - at : taken;
  }
}
