/** A wall clock that is set, back or forward, at any time: everything that waits waits on the monotonic one. */
import { expect, setSystemTime, test } from "bun:test";
import { join } from "node:path";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { expectMoved } from "../support/moves/ownership.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { startServing, stopServing } from "../support/moves/serving.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

const yearMs = 365 * 24 * 3_600_000;
let root: string;
let vm: SmallVm;
let hosts: { sourceHome: string; destinationHome: string; store: string };

eachTestInFolder("migrate-clock-", (made) => {
  root = made;
  vm = makeSmallVm(join(root, "web1"));
  hosts = { sourceHome: join(root, "a"), destinationHome: join(root, "b"), store: join(root, "store") };
  return async () => {
    setSystemTime();
    await stopServing();
  };
});

const serveHere = (ticketTtlMs: number) =>
  startServing({ home: hosts.destinationHome, store: hosts.store, secure: true, ticketTtlMs });

const now = Date.now();
for (const [how, years] of [
  ["set back", -20],
  ["set forward", 20],
] as const) {
  test(`a clock that is ${how} neither prolongs a ticket nor ends it`, async () => {
    const late = await serveHere(1);
    setSystemTime(new Date(now + years * yearMs));
    const { error } = await sendOnce({
      home: hosts.sourceHome,
      vm: vm.spec,
      address: late.address,
      ticket: late.ticket,
    });
    expect(error).toMatchObject({ code: "ticket-expired", exitCode: 3 });
    await late.stop();
    setSystemTime();
    const inTime = await serveHere(600_000);
    setSystemTime(new Date(now + years * yearMs));
    const sent = await sendOnce({
      home: hosts.sourceHome,
      vm: vm.spec,
      address: inTime.address,
      ticket: inTime.ticket,
    });
    expect(sent.error).toBeUndefined();
    expectMoved(vm, hosts, how);
  });

  test(`a clock that is ${how} in the middle of a transfer, with a cut on top, changes nothing`, async () => {
    const serving = await startServing({ home: hosts.destinationHome, store: hosts.store });
    const proxy = await CuttingProxy.open({ target: () => serving.address, parseFrames: true });
    let chunks = 0;
    proxy.breakBefore = (_direction, name) => {
      if (name !== "chunk") return false;
      chunks++;
      if (chunks === 3) setSystemTime(new Date(now + years * yearMs));
      return chunks === 5;
    };
    const { done, error, events } = await sendOnce({
      home: hosts.sourceHome,
      vm: vm.spec,
      address: proxy.address,
    });
    expect(error).toBeUndefined();
    expect(events.filter(({ event }) => event === "link")).toHaveLength(2);
    expect(done!.seconds).toBeGreaterThan(0);
    expect(done!.seconds).toBeLessThan(50);
    const seconds = events.flatMap((event) => (event.event === "progress" ? [event.seconds] : []));
    expect(seconds).toEqual(seconds.toSorted((a, b) => a - b));
    expectMoved(vm, hosts, how);
    await proxy.close();
  });
}
