/** The files of a domain as a source sends them by hand, of any length: their chunks, and what SEAL says of them. */
import { limits } from "../../../../src/protocol/limits.ts";
import type { MessageBody } from "../../../../src/protocol/messages.ts";
import { ChunkBuffer } from "../../../../src/transfer/chunks/chunk-buffer.ts";
import { TagTable, vmDigest } from "../../../../src/transfer/chunks/tag-table.ts";
import { Tagger } from "../../../../src/transfer/chunks/tagger.ts";
import type { RawFile } from "../../hostile/raw/vm.ts";

/** The frames of all chunks, and the SEAL of them. */
export function framesOf(
  name: string,
  tagKey: string,
  files: readonly RawFile[],
): { frames: Buffer[]; seal: MessageBody<"seal"> } {
  const tagger = new Tagger(Buffer.from(tagKey, "hex"));
  const frames: Buffer[] = [];
  const digests = files.map(({ content }, file) => {
    const table = new TagTable(content.length);
    for (let chunk = 0; chunk * limits.chunkBytes < content.length; chunk++) {
      const bytes = content.subarray(chunk * limits.chunkBytes, (chunk + 1) * limits.chunkBytes);
      const buffer = new ChunkBuffer();
      bytes.copy(buffer.dataRoom(bytes.length));
      const { body } = buffer.pack(bytes.length);
      const tag = tagger.tag(file, chunk, body);
      table.set(chunk, tag);
      frames.push(Buffer.from(buffer.frame(file, chunk, tag)));
    }
    return table.digest();
  });
  const named = files.map(({ kind, name: file }, n) => ({ kind, name: file, digest: digests[n]! }));
  return { frames, seal: { files: digests, digest: vmDigest(name, named) } };
}

/** What an offer says of a file. */
export function offeredFile({ kind, name, content, format }: RawFile): Record<string, unknown> {
  const bytes = content.length;
  return { kind, name, bytes, allocatedBytes: bytes, ...(format === undefined ? {} : { format }) };
}
