/** The clock of a guest that stood still for its move: its agent sets it once it goes on, if there is one and it may. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ArrivedGuest } from "../../../support/guests/arrived-guest.ts";
import type { RunningGuest } from "../../../support/guests/running-guest.ts";
import type { RunningHosts } from "../../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved, failureOf } from "../../../support/moves/whole-move.ts";
import { until } from "../../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** Slow enough for its clock to be seconds late. */
const stopped = ["--mode", "stop", "--bandwidth", "12M"];
const agentText = /agent set the time from (\d+) to (\d+)/;

/** A guest with an agent, which QEMU sees. */
async function guestWithAgent(): Promise<RunningGuest> {
  const socket = join(at.folder, "web1", "qga0");
  const guest = await at.guest({
    append: "agent=1 random_mib=24",
    extraArgs: [
      ...["-device", "virtio-serial-pci", "-chardev", `socket,id=qga0,path=${socket},server=on,wait=off`],
      ...["-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0"],
    ],
  });
  await guest.waitForTick(3);
  const watch = await guest.watch();
  const isOpen = async () => {
    const all = (await watch.execute("query-chardev")) as { label: string; "frontend-open": boolean }[];
    return all.some((one) => one.label === "qga0" && one["frontend-open"]);
  };
  await until(isOpen, "its agent");
  return guest;
}

/** It says that it set the clock, which was behind by about as long as it stood, to this host's. */
async function expectTimeSet(
  log: { waitUntil: RunningGuest["log"]["waitUntil"] },
  text: () => string,
): Promise<void> {
  await log.waitUntil((said) => agentText.test(said), "its agent's word");
  const [, was, is] = agentText.exec(text())!.map(Number);
  expect(is! - was!).toBeGreaterThanOrEqual(1);
  expect(Math.abs(is! - Date.now() / 1000)).toBeLessThan(60);
}

test("there, while the source has long been told that it runs", async () => {
  const guest = await guestWithAgent();
  // It ends once the VM is there, and not before its clock is right.
  const serve = await at.serve({ flags: ["--once"] });
  await doneOf(at.send(guest, stopped));
  const there = await expectMoved(at, guest);
  await expectTimeSet(there.log, () => there.serialText());
  expect(
    serve.events
      .filter(({ event }) => event === "notice")
      .map((event) => String((event as { message?: unknown }).message)),
  ).not.toContainEqual(expect.stringContaining("clock"));
});

test("here, if it goes on here after all", async () => {
  const guest = await guestWithAgent();
  await at.serve();
  const send = at.send(guest, stopped);
  await send.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 2 ** 20 });
  // Its clock falls behind while it stands.
  const standsSince = performance.now();
  await until(() => performance.now() - standsSince > 1_500, "its clock to be late");
  send.signal("SIGINT");
  expect((await failureOf(send)).code).toBe("interrupted");
  await expectTimeSet(guest.log, () => guest.serialText());
});

test("not if it is not to, and not of one that is moved live", async () => {
  const guest = await guestWithAgent();
  await at.serve();
  await doneOf(at.send(guest, [...stopped, "--set-time", "off"]));
  const there = await expectMoved(at, guest);
  await there.waitForTick(guest.ticks().length + 10);
  expect(there.serialText()).not.toMatch(agentText);
  const back = await at.back();
  await doneOf(back.send(`qmp:${there.qmpPath}`));
  const again = new ArrivedGuest(at.hosts.sourceHome, "web1");
  await again.waitForTick(guest.ticks().length + there.ticks().length + 10);
  expect(again.serialText()).not.toMatch(agentText);
});

test("an agent that somebody else speaks to is told of, and the move is none the worse", async () => {
  const guest = await guestWithAgent();
  const serve = await at.serve();
  const send = at.send(guest, stopped);
  // Whoever connects first to the channel there has it.
  const path = join(at.arrived().folder, "qga0");
  await until(() => existsSync(path), "its QEMU there");
  const caller = await Bun.connect({ unix: path, socket: { data() {} } });
  try {
    await doneOf(send);
    await expectMoved(at, guest);
    const { message } = await serve.waitFor("notice", {
      where: ({ message: said }) => said.includes("clock"),
    });
    expect(message).toBe("web1: the guest's clock was not set by its agent: another program speaks to it");
  } finally {
    caller.end();
  }
});
