/** A VM as a raw source offers and sends it: offers with anything in them, and CHUNK frames made by hand. */
import { randomBytes, randomUUID } from "node:crypto";
import { encodeFrame, frameTypes } from "../../../../src/protocol/frames.ts";
import { limits } from "../../../../src/protocol/limits.ts";
import { ChunkBuffer } from "../../../../src/transfer/chunks/chunk-buffer.ts";
import { TagTable, vmDigest } from "../../../../src/transfer/chunks/tag-table.ts";
import { Tagger } from "../../../../src/transfer/chunks/tagger.ts";

export interface RawFile {
  kind: "ram" | "disk" | "tpm" | "boot";
  name: string;
  content: Buffer;
  /** What an image is declared to be; nothing is declared without it. */
  format?: "raw" | "qcow2";
}

export class RawVm {
  readonly name: string;
  readonly files: RawFile[];
  readonly tagKey: string = randomBytes(16).toString("hex");
  readonly mode: "move" | "copy";

  constructor(name: string, files: RawFile[] = [ramOf(name)], mode: "move" | "copy" = "move") {
    this.name = name;
    this.files = files;
    this.mode = mode;
  }

  /** An OFFER's body; `change` replaces fields of it, `file` fields of its first file. */
  offer(change: Record<string, unknown> = {}, file: Record<string, unknown> = {}): Record<string, unknown> {
    const files = this.files.map(({ kind, name, content, format }, i) => ({
      kind,
      name,
      bytes: content.length,
      allocatedBytes: content.length,
      ...(format === undefined ? {} : { format }),
      ...(i === 0 ? file : {}),
    }));
    return {
      name: this.name,
      vm: randomUUID(),
      mode: this.mode,
      chunkBytes: limits.chunkBytes,
      tagKey: this.tagKey,
      files,
      ...change,
    };
  }

  /** A CHUNK frame of these bytes with its right tag, whatever the VM's file holds. */
  chunk(bytes: Buffer, file = 0, chunk = 0): Buffer {
    const buffer = new ChunkBuffer();
    bytes.copy(buffer.dataRoom(bytes.length));
    const { body } = buffer.pack(bytes.length);
    const tag = new Tagger(Buffer.from(this.tagKey, "hex")).tag(file, chunk, body);
    return Buffer.from(buffer.frame(file, chunk, tag));
  }

  /** A CHUNK frame around any body, its tag right unless another is given. */
  rawChunk(
    body: Buffer,
    { file = 0, chunk = 0, tag, bodyBytes = body.length, encoding = 0 }: RawChunkOptions = {},
  ): Buffer {
    const right = () => new Tagger(Buffer.from(this.tagKey, "hex")).tag(file, chunk, body);
    const header = Buffer.alloc(limits.chunkHeaderBytes);
    header.writeUInt32BE(file, 0);
    header.writeUInt32BE(chunk, 4);
    header.writeUInt32BE(bodyBytes, 8);
    (tag ?? (body.length >= 2 ? right() : Buffer.alloc(16))).copy(header, 12);
    header.writeUInt8(encoding, 28);
    return encodeFrame(frameTypes.chunk, Buffer.concat([header, body]));
  }

  /** The frames that carry the whole VM; each of its files is one chunk at most. */
  chunks(): Buffer[] {
    return this.files.flatMap(({ content }, i) => (content.length === 0 ? [] : [this.chunk(content, i)]));
  }

  /** A SEAL's body for the VM's files, or for other contents in their place. */
  seal(contents: Buffer[] = this.files.map(({ content }) => content)): { digest: string; files: string[] } {
    const tagger = new Tagger(Buffer.from(this.tagKey, "hex"));
    const files = contents.map((content, i) => {
      const table = new TagTable(content.length);
      const buffer = new ChunkBuffer();
      content.copy(buffer.dataRoom(content.length));
      if (content.length > 0) table.set(0, tagger.tag(i, 0, buffer.pack(content.length).body));
      return table.digest();
    });
    const named = this.files.map(({ kind, name }, i) => ({ kind, name, digest: files[i]! }));
    return { digest: vmDigest(this.name, named), files };
  }
}

export interface RawChunkOptions {
  file?: number;
  chunk?: number;
  tag?: Buffer;
  bodyBytes?: number;
  encoding?: number;
}

/** A RAM file of three pages and a bit. */
function ramOf(name: string): RawFile {
  return { kind: "ram", name: `${name}.ram`, content: randomBytes(3 * limits.pageBytes + 100) };
}
