/** What a store has is taken from it where it is whole and still the same, and never where it is not. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../src/protocol/limits.ts";
import { randomStream } from "../support/files/small-vm.ts";
import { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { until } from "../support/system/until.ts";
import { Ground, overwriteUnseen } from "./ground.ts";

const mebibyte = 1024 ** 2;
const { blockBytes } = limits;

let ground: Ground;
beforeEach(() => {
  ground = new Ground();
});
afterEach(async () => {
  await ground.close();
});

/** Bytes of which no block is like another. */
const content = (mib: number, seed = 1) => randomStream(seed)(mib * mebibyte);

test("all of a VM that the store holds under another name is found there, and next to nothing is sent", async () => {
  const disk = content(6);
  ground.stored("golden", disk);
  await ground.serve();
  const sent = await ground.send(ground.vm(disk), disk);
  expect(sent.foundBytes).toBe(disk.length);
  expect(sent.chunksSent).toBe(0);
  expect(sent.wireBytes).toBeLessThan(20_000);
});

// [FIND-3]
test.each([
  ["the index", true, undefined],
  ["a base", false, "golden"],
])("a block damaged after it was indexed is noticed before it is used: by %s", async (_by, index, base) => {
  const disk = content(6);
  const stored = ground.stored("golden", disk);
  await ground.serve({ index });
  overwriteUnseen(stored, 2 * mebibyte + 12_345, Buffer.of(disk[2 * mebibyte + 12_345]! ^ 1));
  const sent = await ground.send(ground.vm(disk), disk, base === undefined ? {} : { base });
  expect(sent.foundBytes).toBe(disk.length - blockBytes);
  expect(sent.chunksSent).toBe(1);
});

test("a base that is cut short after it was indexed gives what is left of it", async () => {
  const disk = content(4);
  const stored = ground.stored("golden", disk);
  await ground.serve();
  const fd = openSync(stored, "w");
  writeSync(fd, disk, 0, mebibyte);
  closeSync(fd);
  const sent = await ground.send(ground.vm(disk), disk);
  expect(sent.foundBytes).toBe(mebibyte);
});

// [FIND-6]
test("two VMs that arrive at once take nothing from each other before they are whole, and do afterwards", async () => {
  const disk = content(6);
  await ground.serve();
  const first = ground.vm(disk, "first");
  const proxy = await CuttingProxy.open({ target: () => ground.serving.address, parseFrames: false });
  try {
    // The first one stands still with all of its bytes at the destination but the last ones.
    const stopped = new AbortController();
    const { ticket } = ground.serving;
    const sending = sendOnce({
      home: ground.home,
      vm: { folder: first.folder },
      address: proxy.address,
      ticket,
      secure: true,
      lanes: 1,
      compression: "off",
      bandwidthBytesPerSec: 2 * mebibyte,
      signal: stopped.signal,
    });
    await until(
      () => proxy.bytes["to-destination"] > 3 * mebibyte,
      "half of the first VM at the destination",
    );
    const staged = readdirSync(ground.store).filter((name) => name.startsWith(".migrate-"));
    expect(staged).toContainEqual(expect.stringMatching(/^\.migrate-[0-9a-f]{32}$/));
    const second = await ground.send(ground.vm(disk, "second"), disk);
    expect(second.foundBytes).toBe(0);
    expect((await sending).error).toBeUndefined();
    ground.expectThere("first", disk);
  } finally {
    await proxy.close();
  }
  // The first scan, one for each offer, one after each VM.
  await ground.indexed(3);
  await until(async () => {
    const third = await ground.send(ground.vm(disk, `third-${performance.now()}`), disk, { copy: true });
    return third.foundBytes === disk.length;
  }, "what arrived is in the index");
});

test("a VM may be deleted from the store while it serves as a base", async () => {
  const disk = content(12);
  ground.stored("golden", disk);
  await ground.serve();
  let deleted = false;
  const sent = await ground.send(ground.vm(disk), disk, {
    lanes: 1,
    base: "golden",
    observe: (event) => {
      if (deleted || event.event !== "progress" || event.doneBytes === 0) return;
      deleted = true;
      rmSync(join(ground.store, "golden"), { recursive: true });
    },
  });
  expect(deleted).toBe(true);
  expect(sent.foundBytes).toBeGreaterThan(0);
});

test("a TPM's state is no base and in no index", async () => {
  const secret = content(1);
  const disk = content(1, 2);
  const folder = join(ground.store, "golden");
  ground.stored("golden", disk);
  mkdirSync(join(folder, "tpm"), { mode: 0o700 });
  const fd = openSync(join(folder, "tpm", "tpm2-00.permall"), "wx", 0o600);
  writeSync(fd, secret);
  closeSync(fd);
  await ground.serve();
  const sent = await ground.send(ground.vm(secret), secret, { base: "golden" });
  expect(sent.foundBytes).toBe(0);
});

test("a VM that went away and comes back brings what has changed alone", async () => {
  const disk = content(8);
  // What `send` left of it here when it went.
  ground.stored("web1", disk);
  ground.asMigrated("web1");
  await ground.serve({ index: false });
  const changed = Buffer.from(disk);
  content(1, 7).copy(changed, 3 * mebibyte + 4096, 0, 300_000);
  const sent = await ground.send(ground.vm(changed, "web1"), changed);
  expect(sent.foundBytes).toBeGreaterThanOrEqual(disk.length - 300_000 - 2 * blockBytes);
  expect(sent.wireBytes).toBeLessThan(500_000);
});
