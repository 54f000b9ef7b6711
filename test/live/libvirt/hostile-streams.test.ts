/**
 * A source that is trusted, and speaks to this host's libvirtd through its gate as it should not: other procedures, calls
 * out of order, packets cut, streams that it was not given. libvirtd hears nothing of it and goes on; nothing is left.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { lstatSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { migrateFlags } from "../../../src/vm/libvirt/rpc/migration-call.ts";
import { statuses } from "../../../src/vm/libvirt/rpc/packet.ts";
import { features, procedures } from "../../../src/vm/libvirt/rpc/procedures.ts";
import { XdrWriter } from "../../../src/vm/libvirt/rpc/xdr.ts";
import { newSession } from "../../support/hostile/hostile-ground.ts";
import {
  errorOn,
  HostileSource,
  liveOffer,
  offeredDomain,
  type Rpc,
  type Started,
} from "../../support/libvirt/hostile/hostile-source.ts";
import {
  callPacket,
  cookieXml,
  finishArguments,
  migrationArguments,
  number,
  openArguments,
  packet,
  param,
} from "../../support/libvirt/hostile/rpc-talk.ts";
import { until } from "../../support/system/until.ts";

const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";
const others = { name: "local", uuid: "5a6b7c8d-2222-4222-8333-9a0b1c2d3e4f" };
const slowMs = 120_000;
let at: HostileSource;

beforeAll(async () => {
  at = await HostileSource.make();
}, 300_000);
beforeEach(() => at.note());
afterEach(() => at.expectNothingLeft(), slowMs);
afterAll(() => at?.close(), 60_000);

const nbd = "  <nbd>\n    <disk target='vda' capacity='1048576'/>\n  </nbd>\n";
const capabilities = "  <capabilities>\n  </capabilities>\n";
const cookie = (inner: string, domain = { name: "vm1", uuid }) => cookieXml(inner, domain);
const xmlOfSource = `<domain type='qemu'><name>vm1</name><uuid>${uuid}</uuid><memory>1</memory><description>the source's own</description></domain>`;
const places = [param("migrate_uri", "unix:///run/src/ram"), param("disks_uri", "unix:///run/src/disk")];

const prepareArguments = (changes: Parameters<typeof migrationArguments>[0] = {}) =>
  migrationArguments({
    params: [param("destination_xml", xmlOfSource), ...places, param("migrate_disks", "vda")],
    cookie: cookie(nbd + capabilities),
    ...changes,
  });
const prepare = (serial: number, changes: Parameters<typeof prepareArguments>[0] = {}) =>
  callPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", serial, prepareArguments(changes));
const finish = (serial: number, changes: Parameters<typeof finishArguments>[0] = {}) =>
  callPacket(
    "DOMAIN_MIGRATE_FINISH3_PARAMS",
    serial,
    finishArguments({
      params: [...places, param("destination_name", "vm1")],
      cookie: cookie(nbd),
      ...changes,
    }),
  );

const offer = () => liveOffer({ uuid });

async function opened(begun: Started): Promise<Rpc> {
  const rpc = await at.rpc(begun);
  expect((await rpc.call(callPacket("AUTH_LIST", 0))).status).toBe(statuses.ok);
  expect((await rpc.call(callPacket("CONNECT_OPEN", 1, openArguments()))).status).toBe(statuses.ok);
  const feature = callPacket("CONNECT_SUPPORTS_FEATURE", 2, number(features.MIGRATION_PARAMS));
  expect((await rpc.call(feature)).status).toBe(statuses.ok);
  return rpc;
}

async function prepared(begun: Started): Promise<Rpc> {
  const rpc = await opened(begun);
  const answer = await rpc.call(prepare(3));
  expect(answer.status, Buffer.from(answer.payload).toString("latin1")).toBe(statuses.ok);
  return rpc;
}

test(
  "what is let through: libvirtd waits for the domain that the destination has made, and forgets it with the session",
  async () => {
    const begun = await at.started(offer());
    await prepared(begun);
    const xml = await at.host.virsh("dumpxml", "vm1");
    expect(xml).toContain(`<uuid>${uuid}</uuid>`);
    expect(xml).not.toContain("the source's own");
    expect(xml).toContain(`<source file='${at.store}/.migrate-vm-`);
    expect((await at.host.virsh("domstate", "vm1")).trim()).toBe("paused");
    await at.cancel(begun);
  },
  slowMs,
);

type Step = (begun: Started) => Promise<Rpc>;
const connected: Step = (begun) => at.rpc(begun);
const call = (procedure: number, payload?: Uint8Array) => () => packet({ procedure, serial: 9 }, payload);
const text = (value: string) => new XdrWriter().string(value).i32(0).bytes();
const created = () => text(offeredDomain({ name: "created", disk: "" }));

describe("the gate closes, and the session is over", () => {
  test.each([
    ["a domain that is to be started", opened, call(10, created()), "policy"],
    ["a domain that is to be defined", opened, call(11, created()), "policy"],
    ["a domain that is to be ended", opened, call(12), "policy"],
    ["a look at all domains", opened, call(273, new XdrWriter().i32(1).u32(0).bytes()), "policy"],
    [
      "a command for a monitor",
      opened,
      () => packet({ program: 0x20008087, procedure: 1, serial: 9 }),
      "policy",
    ],
    ["a call of lxc's", opened, () => packet({ program: 0x20008088, procedure: 1, serial: 9 }), "policy"],
    [
      "another version",
      opened,
      () => packet({ version: 2, procedure: procedures.CONNECT_CLOSE, serial: 9 }),
      "protocol",
    ],
    ["the last number of all", opened, call(0xffff_ffff), "policy"],
    ["PREPARE before CONNECT_OPEN", connected, () => prepare(0), "protocol"],
    ["FINISH without PREPARE", opened, () => finish(9), "protocol"],
    ["a second PREPARE", prepared, () => prepare(9), "protocol"],
    [
      "PREPARE of another name",
      opened,
      () => prepare(9, { params: [...places, param("destination_name", others.name)] }),
      "policy",
    ],
    [
      "PREPARE of a disk that is not there",
      opened,
      () => prepare(9, { params: [...places, param("migrate_disks", "vdb")] }),
      "policy",
    ],
    [
      "PREPARE through a tunnel",
      opened,
      () => prepare(9, { flags: migrateFlags.TUNNELLED | migrateFlags.LIVE }),
      "policy",
    ],
    [
      "PREPARE with a parameter of no migration",
      opened,
      () => prepare(9, { params: [param("listen_address", "0.0.0.0")] }),
      "policy",
    ],
    [
      "PREPARE about another domain",
      opened,
      () => prepare(9, { cookie: cookie(nbd + capabilities, others) }),
      "policy",
    ],
    [
      "PREPARE with an entity",
      opened,
      () => prepare(9, { cookie: `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/shadow">]>${cookie(nbd)}` }),
      "protocol",
    ],
    ["FINISH about another domain", prepared, () => finish(9, { cookie: cookie(nbd, others) }), "policy"],
    [
      "FINISH of another name",
      prepared,
      () => finish(9, { params: [param("destination_name", others.name)] }),
      "policy",
    ],
    ["a packet longer than all", opened, () => Buffer.from("7fffffff20008086", "hex"), "protocol"],
    ["a packet shorter than its head", opened, () => Buffer.from("0000000420008086", "hex"), "protocol"],
    ["what is no packet", connected, () => Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "protocol"],
  ] as [string, Step, () => Uint8Array, string][])(
    "%s",
    async (_what, step, bytes, code) => {
      const begun = await at.started(offer());
      const rpc = await step(begun);
      rpc.send(bytes());
      const { code: said } = await errorOn(begun.peer);
      expect(said).toBe(code);
      // `expectNothingLeft` has the rest.
    },
    slowMs,
  );
});

describe("a session that comes to nothing", () => {
  test.each([
    ["a packet cut anywhere", opened, (rpc) => rpc.send(prepare(9).subarray(0, 200))],
    ["FINISH of what never came", prepared, (rpc) => rpc.send(finish(9))],
    ["FINISH that gives up", prepared, (rpc) => rpc.send(finish(9, { cancelled: 1 }))],
    ["a source that reads nothing", opened, (rpc) => void rpc.peer.socket.pause()],
    ["a source that closes", prepared, (rpc) => rpc.peer.close()],
  ] as [string, Step, (rpc: Rpc) => unknown][])(
    "leaves nothing: %s",
    async (_what, step, act) => {
      const begun = await at.started(offer());
      act(await step(begun));
      await at.cancel(begun);
    },
    slowMs,
  );
});

describe("streams", () => {
  /** HELLO on a stream; gives the error that comes. */
  async function refused({ session }: { session: string }, stream: number, laneToken: string) {
    const peer = await at.connect();
    return await errorOn(peer.hello({ role: "stream", session, stream, laneToken, received: 0 }));
  }

  test("none before START", async () => {
    const begun = await at.letIn(offer());
    for (const stream of [0, 1, 16]) {
      expect((await refused(begun, stream, begun.laneToken)).code).toBe("policy");
      expect((await refused(begun, stream, "1".repeat(32))).code).toBe("policy");
    }
    await at.cancel(begun);
  });

  test("none but those of the domain", async () => {
    const begun = await at.started(offer());
    for (const stream of [2, 15, 17, 79])
      expect((await refused(begun, stream, begun.started.streamToken)).code).toBe("policy");
    await at.cancel(begun);
  });

  test(
    "none of QEMU's before it listens, whatever stands there",
    async () => {
      const begun = await at.started(offer());
      const folder = join(at.host.outside("/run/migrate"), begun.session, "qemu");
      // As another QEMU of the same user could put it there: the doors are root's.
      for (const name of ["ram", "disk"]) symlinkSync(at.host.socket, join(folder, name));
      for (const stream of [0, 16])
        expect((await refused(begun, stream, begun.started.streamToken)).code).toBe("policy");
      for (const name of ["ram", "disk"]) rmSync(join(folder, name));
      await prepared(begun);
      expect(lstatSync(folder).uid).toBe(0);
      expect(lstatSync(join(folder, "ram")).isSocket()).toBe(true);
      await at.stream(begun, 0);
      await at.stream(begun, 16);
      await at.cancel(begun);
    },
    slowMs,
  );

  test("the gate lets one caller in: who comes a second time carries the same stream", async () => {
    const begun = await at.started(offer());
    const rpc = await at.rpc(begun);
    expect((await rpc.call(callPacket("AUTH_LIST", 0))).status).toBe(statuses.ok);
    const { session, started } = begun;
    for (let welcomed = false; !welcomed; ) {
      const again = await at.connect();
      again.hello({ role: "stream", session, stream: 1, laneToken: started.streamToken, received: 0 });
      await until(() => again.frames.some(({ name }) => name === "welcome" || name === "error"), "an answer");
      welcomed = again.frames.some(({ name }) => name === "welcome");
      // The kernel gives a connection to any door, and one of them holds the stream.
      if (!welcomed) expect((await errorOn(again)).code).toBe("busy");
    }
    await rpc.peer.ended(60_000);
    await at.cancel(begun);
  });

  test(
    "what is put where RAM goes, and is none, ends there",
    async () => {
      const begun = await at.started(offer());
      await prepared(begun);
      const ram = await at.stream(begun, 0);
      ram.send(Buffer.alloc(2 ** 20, "migrate")).end();
      await until(
        () => at.host.qemuPid("vm1") === undefined,
        "the end of a QEMU that was sent no RAM",
        60_000,
      );
      await at.cancel(begun);
    },
    slowMs,
  );
});

test(
  "a session whose id begins as another's takes nothing of it",
  async () => {
    const session = newSession();
    const begun = await at.started(offer(), session);
    const twin = session.slice(0, 16) + newSession().slice(16);
    const rival = await at.letIn(liveOffer({ name: "vm2" }), twin);
    expect((await errorOn(rival.peer.send("start", {}))).code).toBe("policy");
    await prepared(begun);
    await at.cancel(rival);
    await at.cancel(begun);
  },
  slowMs,
);

test(
  "a serve that ends waits for no source, and the next one goes on without it",
  async () => {
    const begun = await at.started(offer());
    await prepared(begun);
    expect(await at.serve.kill("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(begun.peer.isClosed).toBe(true);
    await at.startServing();
  },
  slowMs,
);
