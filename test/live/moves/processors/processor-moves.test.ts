/**
 * Guests whose processor the destination has, has not, or would make otherwise: what is missing is said before a byte of
 * the VM is sent, and one that moves finds the processor that it booted on. The destination's QEMU is one that a program
 * of the same name starts with other words, as one on other hardware would take them.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunningGuest } from "../../../support/guests/running-guest.ts";
import { callMonitor } from "../../../support/guests/seen/monitor.ts";
import type { RunningHosts } from "../../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../../support/moves/running-hosts-of-tests.ts";
import {
  doneOf,
  expectGapless,
  expectMoved,
  failureOf,
  ticksOver,
} from "../../../support/moves/whole-move.ts";

const program = "qemu-system-x86_64";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** Starts serve on a host whose QEMU takes the word `from` for `to`, and has `more` words of its own. */
async function serveWith({ from = "", to = "", more = "" }, flags: string[] = []) {
  const folder = join(at.folder, "bin");
  mkdirSync(folder, { recursive: true });
  const words = from === "" ? `"$@"` : `"\${@//${from}/${to}}"`;
  const path = join(folder, program);
  writeFileSync(path, `#!/bin/bash\nexec ${Bun.which(program)} ${words} ${more}\n`, { mode: 0o755 });
  return at.serve({ flags: ["--vm-users", "off", ...flags], env: { PATH: `${folder}:${process.env.PATH}` } });
}

/** What the processor of a VM says of itself by CPUID. */
async function cpuidOf(guest: Pick<RunningGuest, "qmpPath">): Promise<unknown> {
  const qmp = await callMonitor(guest.qmpPath, () => true);
  try {
    const [cpu] = (await qmp.execute("query-cpus-fast")) as { "qom-path": string }[];
    const get = (property: string) => qmp.execute("qom-get", { path: cpu!["qom-path"], property });
    const names = ["feature-words", "vendor", "family", "model", "stepping", "model-id", "level", "xlevel"];
    return await Promise.all(names.map(get));
  } finally {
    qmp.close();
  }
}

/** A guest with features that TCG does not have, and that no kernel uses unasked: it was told to show them all the same. */
const forced = "qemu64,+cldemote,+clzero,x-force-features=on";
/** A host whose QEMU shows no more than it has. */
const honest = { from: "x-force-features=on", to: "x-force-features=off" };

// [CPU-1] [CPU-3]
test("a guest with what the destination's processor has not is refused, flag by flag, before a byte is sent", async () => {
  const guest = await at.guest({ extraArgs: ["-cpu", forced] });
  await guest.waitForTick(1);
  await serveWith(honest);
  const send = at.send(guest);
  const failure = await failureOf(send);
  const explain = at.hosts.explain(`qmp:${guest.qmpPath}`);
  const { refused } = (await explain.waitFor("explanation")) as unknown as { refused: string[] };
  expect([refused[0], (await explain.exit).code]).toEqual([
    `${failure.message}. ${failure.hint}`,
    failure.exitCode,
  ]);
  expect(failure).toMatchObject({
    code: "processor",
    side: "destination",
    message:
      "the processor that the destination can give the VM lacks cldemote and clzero, which the VM's has",
    hint: expect.stringContaining("--cpu-check off"),
    exitCode: 6,
  });
  const sent = send.events.flatMap((event) => (event.event === "progress" ? [event.wireBytes] : []));
  expect(sent.filter((bytes) => bytes !== 0)).toEqual([]);
  await guest.waitForTick(guest.ticks().length + 2);
  expectGapless(guest);
  expect([at.inStore(), at.processesAtDestination()]).toEqual([[], []]);
  expect(existsSync(join(at.hosts.destinationHome, "run", "web1"))).toBe(false);

  // Who knows better has it moved.
  await doneOf(at.send(guest, ["--cpu-check", "off"]));
  const arrived = await expectMoved(at, guest);
  await arrived.waitForTick((ticksOver(guest, arrived).at(-1) ?? 0) + 3);
});

test.each(["live", "stop"])(
  "a guest of a host with other flags finds its processor as it was (%s)",
  async (mode) => {
    const guest = await at.guest({ extraArgs: ["-cpu", "max,avx2=off,la57=off"] });
    await guest.waitForTick(1);
    const before = await cpuidOf(guest);
    // A host whose own processor has something that the guest has not seen, and lacks nothing.
    await serveWith({ from: ",avx2=off,la57=off", to: "" });
    await doneOf(at.send(guest, ["--mode", mode]));
    const arrived = await expectMoved(at, guest);
    await arrived.waitForTick((ticksOver(guest, arrived).at(-1) ?? 0) + 3);
    expectGapless(guest, arrived);
    expect(await cpuidOf(arrived)).toEqual(before);
  },
);
