/**
 * What is alive: a link that carries next to nothing is, one that carries small messages and no data is not. Both are
 * relays of this test; a path that loses large packets is in test/live/programs/small-mtu.test.ts.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { NarrowLink, type NarrowLinkOptions } from "../support/moves/links/narrow-link.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { type Serving, startServing, stopServing } from "../support/moves/serving.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

const kibibyte = 1024;
/** The limits of this test, in place of 5 and 20 s. */
const timing = { pingMs: 500, silenceMs: 2_500 };
const lanePatienceMs = 3 * timing.silenceMs;

let root: string;
let serving: Serving;
let link: NarrowLink | undefined;

eachTestInFolder("migrate-slow-", async (made) => {
  root = made;
  serving = await startServing({ home: join(root, "b"), store: join(root, "store"), timing });
  return async () => {
    await stopServing();
    await link?.close();
    link = undefined;
  };
});

/** A VM with one chunk of random data, sent over that link. */
async function sendOver(options: Omit<NarrowLinkOptions, "target">, retryForMs: number) {
  const bytes = 1024 * kibibyte;
  const vm = makeSmallVm(join(root, "web1"), { ram: { bytes, extents: [{ at: 0, bytes }] }, disks: [] });
  link = await NarrowLink.open({ ...options, target: serving.address });
  const begunMs = performance.now();
  const sent = await sendOnce({
    home: join(root, "a"),
    vm: vm.spec,
    address: link.address,
    compression: "off",
    retryForMs,
    timing,
  });
  return { ...sent, ms: performance.now() - begunMs };
}

// [ACK-3]
test("a link on which one chunk takes longer than any silence is alive, and so is what waits behind it", async () => {
  const bytesPerSec = 96 * kibibyte;
  const sent = await sendOver({ bytesPerSec, queueBytes: 512 * kibibyte }, 60_000);
  expect(sent.error).toBeUndefined();
  expect(sent.ms).toBeGreaterThan(lanePatienceMs);
  expect(sent.events.filter(({ event }) => event === "link")).toEqual([]);
  expect(link!.connections).toBe(2);
}, 120_000);

test("a link that takes small messages and no data ends the move once --retry-for is over, and says so", async () => {
  const sent = await sendOver({ swallowsAfterBytes: 32 * kibibyte }, 4_000);
  expect(sent.error).toMatchObject({ code: "network" });
  expect(sent.error?.message).toMatch(/^the link to 127\.0\.0\.1 takes data and nobody there answers it/);
  expect(sent.error?.hint).toMatch(/swallows it/);
}, 120_000);
