/**
 * A trusted source that attacks with a running VM: nothing runs before it is owned, and what was begun is gone
 * afterwards.
 */
import { describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackRunningDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type Begun, disk, drive, type HostileArrivals } from "../../support/hostile/hostile-arrivals.ts";
import { processesNaming, RawRunningVm, type SentStream } from "../../support/hostile/raw/running-vm.ts";

let at: HostileArrivals;

testsAttackRunningDestination((made) => {
  at = made;
});

test("a VM that keeps to the rules is taken over: what is refused below is not refused for another reason", async () => {
  const begun = await at.started();
  const sent = await at.sendRam(begun);
  await at.handOver(begun, [sent]);
});

describe("SEAL is refused, and the VM does not run", () => {
  const other = `sha256:${"5".repeat(64)}`;
  test.each([
    ["no stream", () => [], "protocol"],
    ["a stream twice", (sent: SentStream) => [sent, sent], "integrity"],
    ["a stream more", (sent: SentStream) => [sent, { ...sent, stream: 1 }], "integrity"],
    ["another length", (sent: SentStream) => [{ ...sent, bytes: sent.bytes - 1 }], "integrity"],
    ["another digest", (sent: SentStream) => [{ ...sent, digest: other }], "integrity"],
    ["another number", (sent: SentStream) => [{ ...sent, stream: 16 }], "integrity"],
  ] as [string, (sent: SentStream) => SentStream[], string][])("with %s", async (_what, change, code) => {
    const begun = await at.started();
    const { vm, peer } = begun;
    const sent = await at.sendRam(begun);
    peer.send("seal", vm.sealOf(change(sent)));
    expect((await peer.error()).code).toBe(code);
    expect(at.stateOf(begun)).toBe("receiving");
    await peer.ended();
    await at.expectGone(await at.again(begun));
  });

  test("before START", async () => {
    const begun = await at.offered();
    const { vm, peer } = begun;
    expect((await peer.send("seal", vm.sealOf([])).error()).code).toBe("in-doubt");
    await at.expectGone(await at.again(begun));
  });

  test("after a seal that was right and another offer, if it says other streams", async () => {
    const begun = await at.started();
    const { vm, peer, session } = begun;
    const sent = await at.sendRam(begun);
    const offer = vm.offer();
    peer.send("seal", vm.sealOf([sent]));
    await peer.expect("ready");
    const again = await at.ground.joined(at.source, session, 2);
    await again.offer(offer);
    again.send("start", {});
    expect(await again.expect("started")).toEqual(begun.started);
    again.send("seal", vm.sealOf([{ ...sent, digest: other }]));
    expect((await again.error()).code).toBe("integrity");
    await at.expectGone(await at.again(begun, 3));
  });
});

// [VM-4] [VM-5]
describe("out of order", () => {
  test("RELEASE without READY lets nothing run", async () => {
    const begun = await at.started();
    await at.sendRam(begun);
    expect((await begun.peer.send("release", {}).error()).code).toBe("in-doubt");
    await at.expectGone(await at.again(begun));
  });

  test("START twice starts one QEMU", async () => {
    const begun = await at.started();
    begun.peer.send("start", {});
    expect(await begun.peer.expect("started")).toEqual(begun.started);
    expect(processesNaming(begun.run)).toHaveLength(1);
    await at.expectGone(begun);
  });

  test("START after READY is refused, and the VM waits on", async () => {
    const begun = await at.started();
    const sent = await at.sendRam(begun);
    begun.peer.send("seal", begun.vm.sealOf([sent]));
    await begun.peer.expect("ready");
    expect((await begun.peer.send("start", {}).error()).code).toBe("in-doubt");
    expect(processesNaming(begun.run)).toHaveLength(1);
    await at.expectGone(await at.again(begun));
  });

  test("a second running VM of one name is refused before it is begun", async () => {
    const begun = await at.started();
    const rival = await at.ground.joined(at.source);
    const error = await rival.sendJson("offer", begun.vm.offer()).error();
    expect(error.code).toBe("name-taken");
    await at.expectGone(begun);
  });
});

describe("a stream is not let in", () => {
  const refused = { code: "policy", message: "this lane belongs to no session that is being received" };
  test("with the token of another session, by another source, or under a number that leads nowhere", async () => {
    const [one, two] = [await at.started(), await at.started()];
    const thief = await at.ground.trustedSource();
    const asked = [
      { session: one.session, laneToken: two.started.streamToken, stream: 0, identity: at.source },
      { session: one.session, laneToken: one.started.streamToken, stream: 0, identity: thief },
      { session: one.session, laneToken: one.started.streamToken, stream: 1, identity: at.source },
      { session: one.session, laneToken: one.started.streamToken, stream: 16, identity: at.source },
    ];
    for (const { identity, ...hello } of asked) {
      const peer = await at.ground.connect({ identity });
      peer.hello({ role: "stream", received: 0, ...hello });
      expect(await peer.error()).toEqual(refused);
      await peer.ended();
    }
    await at.expectGone(one);
    await at.expectGone(two);
  });

  test("that was of a QEMU which is gone", async () => {
    const begun = await at.started();
    await at.expectGone(begun);
    const peer = await at.ground.connect({ identity: at.source });
    peer.hello({
      role: "stream",
      received: 0,
      stream: 0,
      session: begun.session,
      laneToken: begun.started.streamToken,
    });
    expect(await peer.error()).toEqual(refused);
  });
});

describe("a stream of garbage", () => {
  test("to the RAM ends QEMU and the session, and the source hears of it", async () => {
    const begun = await at.started();
    const stream = await at.openStream(begun, 0);
    stream.send(Buffer.alloc(2 ** 20, 0xff));
    const { code, message } = await begun.peer.error();
    expect(code).toBe("qemu-failed");
    expect(message).not.toContain("/");
    await begun.peer.ended();
    await at.expectGone(begun);
    expect(at.stateOf(begun)).toBe("cancelled");
  });

  test("to a disk is QEMU's to refuse, and the VM can be cancelled as any other", async () => {
    const mirrored = { name: "a", format: "raw", bytes: 2 ** 20, allocatedBytes: 0 };
    const begun = await at.started({ files: [], machine: { live: true, disks: [mirrored] } });
    const stream = await at.openStream(begun, 16);
    stream.send(Buffer.alloc(2 ** 16, 0xff));
    begun.peer.send("start", {});
    const next = await begun.peer.next();
    expect(["started", "error"]).toContain(next.name as string);
    await at.expectGone(begun);
  });
});

test("more offers than there may be sessions are refused, and those before them start nothing", async () => {
  const begun: Begun[] = [];
  for (let n = 0; n < 4; n++) begun.push(await at.offered());
  const peer = await at.ground.joined(at.source);
  expect(
    (await peer.sendJson("offer", new RawRunningVm("one-more", drive, { files: [disk] }).offer()).error())
      .code,
  ).toBe("busy");
  expect(processesNaming(join(at.ground.home, "run"))).toEqual([]);
  for (const one of begun) await at.expectGone(one);
});

// [VM-6]
describe("a source that goes away", () => {
  test.each([
    ["before START", "offered", 0],
    ["after START", "started", 0],
    ["after START, with some patience", "started", 200],
  ] as const)("%s loses what it had begun", async (_what, begin, patienceMs) => {
    const begun = await at[begin]({ machine: { patienceMs } });
    begun.peer.close();
    await begun.peer.gone();
    await at.expectGone(begun);
    expect(at.stateOf(begun)).toBe("cancelled");
  });

  test("with the longest patience finds its QEMU again", async () => {
    const begun = await at.started({ machine: { patienceMs: 2 ** 32 - 1 } });
    const offer = begun.vm.offer();
    begun.peer.close();
    await begun.peer.gone();
    const again = await at.ground.joined(at.source, begun.session, 2);
    await again.offer(offer);
    again.send("start", {});
    expect(await again.expect("started")).toEqual(begun.started);
    await at.expectGone({ ...begun, peer: again });
  });
});

describe("on the destination's own host", () => {
  test("nobody else gets into the folder with the VM's sockets", async () => {
    const begun = await at.started();
    for (const path of [at.ground.home, begun.run]) expect(lstatSync(path).mode & 0o077).toBe(0);
    await at.expectGone(begun);
  });

  test("a link in the run folder's place is replaced, and what it leads to stays as it is", async () => {
    const victim = join(at.ground.root, "outside", "victim");
    mkdirSync(victim);
    writeFileSync(join(victim, "qmp"), "not a socket");
    mkdirSync(join(at.ground.home, "run"), { recursive: true, mode: 0o700 });
    symlinkSync(victim, join(at.ground.home, "run", at.nextName));
    const begun = await at.started();
    expect(lstatSync(begun.run).isSymbolicLink()).toBe(false);
    await at.expectGone(begun);
    expect(readFileSync(join(victim, "qmp"), "utf8")).toBe("not a socket");
    rmSync(victim, { recursive: true });
  });
});
