/** What a VM has twice comes once: pages of its RAM that its disk has, and what its disk has in several places. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Report } from "../../src/migration/report/report.ts";
import { limits } from "../../src/protocol/limits.ts";
import type { Compression } from "../../src/transfer/compression/compression.ts";
import { randomStream } from "../support/files/small-vm.ts";
import { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { type SendingOptions, type Sent, sendOnce } from "../support/moves/sending.ts";
import { SeededRandom } from "../support/system/random.ts";
import { savedStream } from "../transfer/reuse/repeats/saved-stream.ts";
import { Ground, mixedData, overwriteUnseen } from "./ground.ts";

const mebibyte = 1024 ** 2;
const { chunkBytes, pageBytes } = limits;

let ground: Ground;
beforeEach(() => {
  ground = new Ground();
});
afterEach(async () => {
  await ground.close();
});

interface Vm {
  name: string;
  folder: string;
  /** The content of each file by its name. */
  files: Record<string, Buffer>;
}

/** A VM at the source, of these files: disks, and RAM where its name says so. */
function vmOf(files: Record<string, Buffer>, name = "web1"): Vm {
  const folder = join(ground.root, "source", name);
  mkdirSync(folder, { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content);
  const listed = Object.keys(files).map((file) => ({ kind: file.endsWith(".ram") ? "ram" : "disk", file }));
  writeFileSync(join(folder, "vm.json"), JSON.stringify({ format: "migrate-vm/1", name, files: listed }));
  return { name, folder, files };
}

function send(vm: Vm, options: Partial<SendingOptions> = {}): Promise<Sent> {
  const { address, ticket } = ground.serving;
  const link = { address, ticket, secure: ticket !== undefined };
  return sendOnce({
    home: ground.home,
    vm: { folder: vm.folder },
    lanes: 1,
    compression: 1,
    ...link,
    ...options,
  });
}

function expectThere({ name, files }: Vm): void {
  for (const [file, content] of Object.entries(files)) {
    expect([file, readFileSync(join(ground.store, name, file)).equals(content)]).toEqual([file, true]);
  }
}

/** Sends a VM, and sees that its bytes are there. */
async function sendWhole(vm: Vm, options: Partial<SendingOptions> = {}): Promise<Report> {
  const { done, error } = await send(vm, options);
  expect(error).toBeUndefined();
  expectThere(vm);
  return done!;
}

const content = randomStream(41);
const system = content(6 * mebibyte);
const pagesOf = (data: Buffer) =>
  Array.from({ length: Math.floor(data.length / pageBytes) }, (_, i) =>
    data.subarray(i * pageBytes, (i + 1) * pageBytes),
  );
/** A disk that has a third of itself twice, and some text. */
const disk = Buffer.concat([system, mixedData(1, 5), system.subarray(mebibyte, 3 * mebibyte), content(777)]);
/** Pages of RAM: three of five are the disk's, one is of its own, one is zeros. */
const random = new SeededRandom(6);
const [diskPages, zeros] = [pagesOf(system), Buffer.alloc(pageBytes)];
const ramPages = Array.from({ length: (8 * mebibyte) / pageBytes }, (_, i) => {
  if (i % 5 === 0) return content(pageBytes);
  return i % 5 === 3 ? zeros : random.pick(diskPages);
});
const rams = {
  image: Buffer.concat([...ramPages, content(345)]),
  stream: savedStream({ pages: ramPages.map((page) => (page === zeros ? 0 : page)), sectionPages: 300 }).data,
};
/** All that is not zeros, but for the text, of which some is. */
const dataBytes = disk.length - mebibyte + 0.8 * rams.image.length;
/** Without repeats it is more than this. With all that there are it is 8 MiB, but a lane on a busy machine may not see them all. */
const fewBytes = dataBytes - mebibyte;
const compressions: Compression[] = ["off", "auto", 1, 19];

describe.each(["image", "stream"] as const)(
  "RAM in the form of a saved %s, of which much is on the disk",
  (form) => {
    const newVm = () => vmOf({ "disk.raw": disk, "web1.ram": rams[form] });

    test.each(compressions.flatMap((compression) => [1, 3].map((lanes) => [compression, lanes] as const)))(
      "arrives as it was with compression %p over %p lanes",
      async (compression, lanes) => {
        await ground.serve({ index: false });
        const { wireBytes, repeatedBytes } = await sendWhole(newVm(), { compression, lanes });
        if (compression !== "auto" && lanes === 1) {
          expect(repeatedBytes > mebibyte).toBe(compression !== "off");
          expect(repeatedBytes).toBeLessThan(dataBytes - system.length);
        }
        if (compression === "off") expect(wireBytes).toBeGreaterThan(dataBytes);
        // What several lanes know of each other is a matter of moments.
        else if (compression !== "auto" && lanes === 1) expect(wireBytes).toBeLessThan(fewBytes);
        else expect(wireBytes).toBeLessThan(dataBytes + 1.2 * mebibyte);
      },
    );

    test("is taken to pieces for auto as well where a bandwidth makes the link slow", async () => {
      await ground.serve({ index: false });
      const sent = await sendWhole(newVm(), { compression: "auto", bandwidthBytesPerSec: 16 * mebibyte });
      expect(sent.wireBytes).toBeLessThan(fewBytes);
    });

    test.each([
      ["an index", true, undefined],
      ["a base", false, "golden"],
      ["a base and an index", true, "golden"],
    ])("arrives as it was where %s has a part of the disk", async (_what, index, base) => {
      // In every other chunk all but one block.
      const golden = Buffer.from(disk.subarray(0, 7 * mebibyte));
      for (let at = 0; at < golden.length; at += 2 * chunkBytes)
        golden.fill("other", at + 70_000, at + 70_100);
      for (let at = chunkBytes; at < golden.length; at += 2 * chunkBytes)
        golden.fill("other", at, at + 900_000);
      ground.stored("golden", golden);
      await ground.serve({ index });
      for (const lanes of [1, 3]) {
        const vm = { ...newVm(), name: "web1" };
        const sent = await sendWhole(vm, { lanes, copy: true, ...(base === undefined ? {} : { base }) });
        expect(sent.foundBytes).toBeGreaterThan(3 * mebibyte);
        if (lanes === 1) expect(sent.wireBytes).toBeLessThan(fewBytes - 3 * mebibyte);
        ground.asMigrated("web1");
      }
    });
  },
);

/** One disk: a chunk, and twelve that have half of it and half of their own. */
const first = content(chunkBytes);
const halves = Buffer.concat([
  first,
  ...Array.from({ length: 12 }, () =>
    Buffer.concat([first.subarray(0, chunkBytes / 2), content(chunkBytes / 2)]),
  ),
]);

/** Sends through a proxy that knows the frames, over an insecure link; `bandwidthBytesPerSec` leaves time to look in. */
async function throughProxy(
  work: (proxy: CuttingProxy, options: Partial<SendingOptions>) => Promise<void>,
): Promise<void> {
  await ground.serve({ secure: false });
  const proxy = await CuttingProxy.open({ target: () => ground.serving.address, parseFrames: true });
  try {
    await work(proxy, { address: proxy.address, bandwidthBytesPerSec: 12 * mebibyte });
  } finally {
    await proxy.close();
  }
}

// [COPY-2] [COPY-3]
test("a destination whose repeat is not what the source takes it for asks again, and the bytes are equal", async () => {
  await throughProxy(async (proxy, options) => {
    const vm = vmOf({ "disk.raw": halves });
    const staged = () => {
      const folder = readdirSync(ground.store).find((name) => /^\.migrate-[0-9a-f]{32}$/.test(name))!;
      return join(ground.store, folder, "disk.raw");
    };
    let [changed, restored] = [false, false];
    proxy.rewrite = (direction, name) => {
      // The first chunk is there; all that are repeats of it are still to come, but for one or two.
      if (direction === "to-source" && name === "ack" && !changed) {
        changed = true;
        overwriteUnseen(staged(), 0, Buffer.from(first.map((byte) => byte ^ 1)));
      }
      if (direction === "to-source" && name === "want" && !restored) {
        restored = true;
        overwriteUnseen(staged(), 0, first);
      }
    };
    const sent = await sendWhole(vm, options);
    expect([changed, restored]).toEqual([true, true]);
    expect(sent.chunksSent).toBeGreaterThan(13);
  });
});

test("a source file that changes while it is sent is noticed, and no repeat is made of what it was", async () => {
  await throughProxy(async (proxy, options) => {
    const vm = vmOf({ "disk.raw": halves });
    const changed = Buffer.from(halves);
    let isChanged = false;
    proxy.rewrite = (_direction, name) => {
      if (name !== "ack" || isChanged) return;
      isChanged = true;
      changed.fill("written by a VM that ran on", 5000, 200_000);
      writeFileSync(join(vm.folder, "disk.raw"), changed, { flag: "r+" });
    };
    const { error } = await send(vm, options);
    expect(isChanged).toBe(true);
    expect(error).toMatchObject({ code: "source-changed", side: "source" });
    expect(proxy.passed("release")).toBe(0);
    await sendWhole({ ...vm, files: { "disk.raw": changed } }, options);
  });
});

test("a link that is cut at any chunk is taken up again, repeats go on being made, and the bytes are equal", async () => {
  await ground.serve({ secure: false });
  const pages = pagesOf(system).slice(0, 512);
  const files = {
    "disk.raw": Buffer.concat([...pages, ...pages.slice(100, 400), content(777)]),
    "web1.ram": savedStream({ pages: [...pages].reverse() }).data,
  };
  // HELLO and six chunks one way, and their acknowledgements the other.
  const cuts = [1, 2, 3, 4, 5, 6, 7].map((number) => ["to-destination", number] as const);
  const backwards = [1, 2, 3].map((number) => ["to-source", number] as const);
  let [cutsMade, fewer] = [0, 0];
  await Promise.all(
    [...cuts, ...backwards].map(async ([direction, number]) => {
      const frame = { link: "lane", number } as const;
      const how = number % 2 === 0 ? "reset" : "end";
      const proxy = await CuttingProxy.open({
        target: () => ground.serving.address,
        parseFrames: true,
        cut: { direction, frame, bytes: "half", how, scope: "link" },
      });
      try {
        const vm = vmOf(files, `${direction}-${number}`);
        const home = join(ground.root, `home-${vm.name}`);
        const { wireBytes } = await sendWhole(vm, { home, address: proxy.address });
        if (proxy.cutMade) cutsMade++;
        // What the source sent before the cut it does not remember, and what it sent then may come twice.
        if (wireBytes < 5 * mebibyte) fewer++;
      } finally {
        await proxy.close();
      }
    }),
  );
  expect(cutsMade).toBeGreaterThanOrEqual(8);
  expect(fewer).toBeGreaterThanOrEqual(3);
});
