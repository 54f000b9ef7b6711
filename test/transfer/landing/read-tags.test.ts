import { expect, test } from "bun:test";
import { readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { chunkLength, limits } from "../../../src/protocol/limits.ts";
import { tagsOf } from "../../../src/transfer/landing/read-tags.ts";
import { seeded } from "../../support/system/random.ts";
import { slowBody, slowTag } from "../slow-chunk.ts";
import { Folder } from "../sparse-file.ts";

const { chunkBytes } = limits;
const key = Buffer.alloc(16, 3);

// [INV-2]
test("reads the tags of what lies on the disk, wherever its holes are", async () => {
  const random = seeded("tags of files");
  const folder = new Folder();
  try {
    const path = join(folder.path, "disk.raw");
    const bytes = 3 * chunkBytes + 17;
    writeFileSync(path, "");
    truncateSync(path, bytes);
    for (let i = 0; i < 6; i++) {
      const at = random.below(bytes);
      const data = Buffer.alloc(Math.min(bytes - at, 1 + random.below(9000)), random.below(3));
      writeSync(folder.open(path), data, 0, data.length, at);
    }
    const table = await tagsOf({ path, file: 0, bytes, tagKey: key });
    const content = readFileSync(path);
    for (let chunk = 0; chunk < table.chunks; chunk++) {
      const at = chunk * chunkBytes;
      const body = slowBody(content.subarray(at, at + chunkLength(content.length, chunk)));
      expect(table.get(chunk)).toEqual(slowTag(key, 0, chunk, body));
    }
  } finally {
    folder.remove();
  }
});

test("a file of holes alone has the tags of zeros, and an empty one has none", async () => {
  const folder = new Folder();
  try {
    const path = join(folder.path, "hole");
    writeFileSync(path, "");
    expect((await tagsOf({ path, file: 1, bytes: 0, tagKey: key })).chunks).toBe(0);
    truncateSync(path, 100);
    expect((await tagsOf({ path, file: 1, bytes: 100, tagKey: key })).isZero(0)).toBe(true);
  } finally {
    folder.remove();
  }
});
