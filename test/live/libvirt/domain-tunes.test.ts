/** A domain's move that does not get through is changed on its way, or its domain is stopped so that it does. */
import { expect, test } from "bun:test";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";
import type { TickDomain } from "../../support/libvirt/tick-domain.ts";
import { doneOf } from "../../support/moves/whole-move.ts";

const hosts = movingHosts({}, "hosta", "hostb");
const limitMs = 180_000;

/** A domain that writes its memory faster than the links of these tests carry it. */
async function busyDomain(name: string): Promise<TickDomain> {
  const [a] = hosts.all();
  const domain = await definedDomain(a.libvirt, { name, append: "dirty_mib=64 random_mib=8", ramMiB: 256 });
  await domain.start();
  await domain.waitUntil((text) => text.includes("dirty pass 3"), "a guest that is busy");
  return domain;
}

const slow = ["--bandwidth", "12M", "--downtime-limit", "1ms", "--auto-converge", "off"];
const slower = ["--bandwidth", "2M", ...slow.slice(2)];

test(
  "bandwidth and downtime limit change on the way, and auto-converge is refused by name",
  async () => {
    const [a, b] = hosts.all();
    const domain = await busyDomain("tuned");
    await b.serve();
    const send = a.send("tuned", b, ...slow);
    await send.waitFor("ram", { where: ({ iteration }) => iteration >= 2, deadlineMs: 90_000 });
    const refused = a.run(["tune", "tuned", "--bandwidth", "64M", "--auto-converge", "on"]);
    expect(await refused.exit).toMatchObject({ code: 6 });
    expect(refused.events.at(-1)).toMatchObject({
      code: "policy",
      message: "libvirt switches auto-converge only as a migration begins",
    });
    expect((await a.libvirt.virsh("migrate-getspeed", "tuned")).trim()).not.toBe("64");
    const tune = a.run(["tune", "tuned", "--bandwidth", "256M", "--downtime-limit", "30s"]);
    expect(await tune.exit).toMatchObject({ code: 0 });
    const done = await doneOf(send);
    expect(done.tuned).toEqual({ bandwidthBytesPerSec: 256 * 1024 ** 2, downtimeLimitMs: 30_000 });
    await domain.at(b.libvirt).waitForTicks(3);
  },
  limitMs,
);

test(
  "--on-timeout force stops the domain, which says so first, and it runs there",
  async () => {
    const [a, b] = hosts.all();
    const domain = await busyDomain("forced");
    await b.serve();
    const send = a.send("forced", b, ...slow, "--timeout", "8s", "--on-timeout", "force");
    const said = await send.waitFor("warning", { deadlineMs: 60_000 });
    expect(said.message).toContain(
      "forced is not at the handover after 8 s (--timeout): it is stopped here now",
    );
    const done = await doneOf(send);
    expect(done.runs).toBe(true);
    expect(done.downtimeMs).toBeGreaterThan(200);
    expect(await domain.at(b.libvirt).state()).toBe("running");
    await domain.at(b.libvirt).waitForTicks(3);
  },
  limitMs,
);

test(
  "one that was stopped so, and whose destination is gone then, goes on here",
  async () => {
    const [a, b] = hosts.all();
    const domain = await busyDomain("left");
    const serve = await b.serve();
    const send = a.send("left", b, ...slower, "--timeout", "15s", "--on-timeout", "force");
    await send.waitFor("warning", { deadlineMs: 60_000 });
    await domain.waitForState("paused");
    await serve.kill();
    expect(await send.exit).toMatchObject({ code: 4 });
    await domain.waitForState("running");
    await domain.waitForTicks(3);
  },
  limitMs,
);

test(
  "and so does one whose send is killed once it has stopped it",
  async () => {
    const [a, b] = hosts.all();
    const domain = await busyDomain("killed");
    await b.serve();
    const send = a.send("killed", b, ...slower, "--timeout", "15s", "--on-timeout", "force");
    await send.waitFor("warning", { deadlineMs: 60_000 });
    await domain.waitForState("paused");
    await send.kill();
    await domain.waitForState("running");
    await domain.waitForTicks(3);
  },
  limitMs,
);
