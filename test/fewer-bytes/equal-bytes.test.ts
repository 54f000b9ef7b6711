/** Whatever is done to send less: what arrives is what was sent. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Compression } from "../../src/transfer/compression/compression.ts";
import { Ground, mixedData } from "./ground.ts";

const mebibyte = 1024 ** 2;
const base = mixedData(9.3, 1);

/** The base with other bytes in a few places, a stretch that moved by a block, and a longer end. */
function offspring(): Buffer {
  const disk = Buffer.concat([base, mixedData(1.1, 2)]);
  mixedData(0.01, 3).copy(disk, 200_000);
  mixedData(0.4, 4).copy(disk, 5 * mebibyte + 4096 * 3);
  base.copy(disk, 7 * mebibyte, 7 * mebibyte + 65_536, 8 * mebibyte);
  return disk;
}

let ground: Ground;
beforeEach(() => {
  ground = new Ground();
});
afterEach(async () => {
  await ground.close();
});

const compressions: Compression[] = ["off", "auto", 1, 19];
const finding = [
  {
    how: "an insecure link, where nothing is looked for",
    secure: false,
    index: true,
    base: undefined,
    finds: false,
  },
  { how: "no index and no base", secure: true, index: false, base: undefined, finds: false },
  { how: "an index", secure: true, index: true, base: undefined, finds: true },
  { how: "a base and no index", secure: true, index: false, base: "golden", finds: true },
  { how: "a base and an index", secure: true, index: true, base: "golden", finds: true },
];

// [FIND-7]
describe.each(finding)("with $how", ({ secure, index, base: named, finds }) => {
  test.each(compressions.flatMap((compression) => [1, 3].map((lanes) => [compression, lanes] as const)))(
    "compression %p over %p lanes brings equal bytes",
    async (compression, lanes) => {
      ground.stored("golden", base);
      await ground.serve({ secure, index });
      const disk = offspring();
      const options = { compression, lanes, ...(named === undefined ? {} : { base: named }) };
      const sent = await ground.send(ground.vm(disk), disk, options);
      expect(sent.foundBytes > 4 * mebibyte).toBe(finds);
      if (!finds) expect(sent.foundBytes).toBe(0);
      if (typeof compression === "number") expect(sent.wireBytes).toBeLessThan(0.75 * disk.length);
    },
  );
});

test("a bandwidth that makes the link slow makes auto compress", async () => {
  await ground.serve({ index: false });
  const text = Buffer.alloc(12 * mebibyte, "what compresses well, and again what compresses well\n");
  const sent = await ground.send(ground.vm(text), text, { bandwidthBytesPerSec: 4 * mebibyte, lanes: 1 });
  expect(sent.wireBytes).toBeLessThan(0.8 * text.length);
});

// [FIND-7]
test("a base that is not there is said, and the VM arrives all the same", async () => {
  await ground.serve({ index: false });
  const disk = offspring();
  const said: string[] = [];
  const sent = await ground.send(ground.vm(disk), disk, {
    base: "nothing-of-that-name",
    observe: (event) => event.event === "warning" && said.push(event.message),
  });
  expect(sent.foundBytes).toBe(0);
  expect(said).toEqual(["the destination has no VM nothing-of-that-name to take anything from"]);
});
