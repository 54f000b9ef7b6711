/** The bandwidth that was allowed is used up, and not exceeded: what is measured here is time. */
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";

const mebibyte = 1024 ** 2;
let root: string;
let hosts: TwoHosts;

eachTestHasHosts("migrate-bandwidth-", (made) => {
  ({ root, hosts } = made);
});

for (const streams of [1, 4]) {
  test(`--bandwidth is kept within 5 %, over ${streams} lanes, and is never exceeded`, async () => {
    const bytes = 40 * mebibyte;
    const big = makeSmallVm(join(root, "big"), { ram: { bytes, extents: [{ at: 0, bytes }] }, disks: [] });
    await hosts.serve();
    const send = hosts.send(big.folder, ["--bandwidth", "10M", "--streams", String(streams)]);
    let begunMs = 0;
    await send.waitFor("phase", { where: ({ phase }) => phase === "stop-and-copy" });
    begunMs = performance.now();
    await send.waitFor("phase", { where: ({ phase }) => phase === "seal" });
    const seconds = (performance.now() - begunMs) / 1000;
    expect(await send.exit).toMatchObject({ code: 0 });
    const wireBytes = statSync(join(hosts.store, "big", big.files[0]!.base)).size;
    const expectedSeconds = wireBytes / (10 * mebibyte);
    console.log(`${streams} lanes: ${(wireBytes / mebibyte / seconds).toFixed(2)} MiB/s of 10`);
    // What a message takes from there to here is in it, a few milliseconds.
    expect(seconds).toBeGreaterThan(expectedSeconds * 0.99);
    expect(seconds).toBeLessThan(expectedSeconds * 1.05);
  });
}
