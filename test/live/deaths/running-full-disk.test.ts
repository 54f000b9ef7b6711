/** The destination's disk runs full while a running VM's disk is mirrored there. */

import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SmallDisk } from "../../support/files/small-disk.ts";
import { RunningHosts } from "../../support/moves/running-hosts.ts";
import { builtBinary } from "../../support/system/process.ts";

const MiB = 2 ** 20;

test("the source says that the destination has no room left, for which disk, and the VM goes on", async () => {
  const at = await RunningHosts.make();
  const disk = await SmallDisk.make(join(at.folder, "small"), 300 * MiB);
  try {
    at.hosts.store = join(at.folder, "small", "store");
    const guest = await at.guest({ disks: [{ name: "data.raw", format: "raw", sizeMiB: 64 }] });
    const fd = openSync(guest.options.disks[0]!.path, "r+");
    for (let at = 8; at < 40; at++) writeSync(fd, randomBytes(MiB), 0, MiB, at * MiB);
    closeSync(fd);
    await guest.waitForTick(1);
    await at.serve({ binary: [...disk.enter, builtBinary] });
    const send = at.send(guest, ["--bandwidth", "4M"]);
    await send.waitFor("phase", { where: ({ phase }) => phase === "pre-copy" });
    disk.fill();
    expect(await send.waitFor("error")).toMatchObject({
      code: "no-room",
      side: "destination",
      message: "no room is left for data.raw on the destination's disk",
      hint: expect.stringContaining("run the same command again"),
      name: "web1",
    });
    expect(await send.exit).toMatchObject({ code: 6 });
    await guest.waitForTick(guest.ticks().length + 2);
  } finally {
    await at.close();
    await disk.close();
  }
});
