/**
 * The bandwidth that was allowed is not exceeded by the program as a whole. That it is used up is shown of the pacers
 * on a clock of their own (channel/shared-pacer.test.ts): here it would be the machine's word, and is printed only.
 */
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
  test(`--bandwidth is never exceeded, over ${streams} lanes`, async () => {
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
    expect(seconds).toBeGreaterThan(expectedSeconds * 0.99);
  });
}
