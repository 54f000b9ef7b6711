/** What the source's gate tells a destination, what it believes of its answers, and that it holds the last one. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { DestinationGate } from "../../../../src/vm/libvirt/rpc/destination-gate.ts";
import type { Effects } from "../../../../src/vm/libvirt/rpc/gate.ts";
import { readFinished, readPrepared } from "../../../../src/vm/libvirt/rpc/migration-call.ts";
import { messageTypes, type Packet } from "../../../../src/vm/libvirt/rpc/packet.ts";
import { readRemoteError } from "../../../../src/vm/libvirt/rpc/remote-error.ts";
import { SourceGate } from "../../../../src/vm/libvirt/rpc/source-gate.ts";
import { XdrWriter } from "../../../../src/vm/libvirt/rpc/xdr.ts";
import {
  answerOf,
  callPacket,
  cookieXml,
  cookieXmls,
  domain,
  errorPacket,
  finishArguments,
  finishedResult,
  keepalive,
  migrationArguments,
  number,
  packet,
  packetsIn,
  param,
  play,
  preparedResult,
  replyPacket,
  sentParams,
  sourceCalls,
  sourceUris,
} from "../../../support/libvirt/hostile/rpc-talk.ts";
import { seeded } from "../../../support/system/random.ts";

const gateOf = () => new SourceGate({ ...domain, migrateUri: sourceUris.migrate });
const untilPrepared = sourceCalls.slice(0, 9);
const untilFinish = sourceCalls.slice(0, 10);
const prepare = "DOMAIN_MIGRATE_PREPARE3_PARAMS";
const finish = "DOMAIN_MIGRATE_FINISH3_PARAMS";

/** A gate whose answer to FINISH is held. */
function heldGate(): SourceGate {
  const gate = gateOf();
  const { events, toClient } = play(gate, untilFinish);
  expect(events.at(-1)).toEqual({ kind: "finish-answered" });
  expect(packetsIn(toClient).at(-1)?.serial).toBe(8);
  expect(gate.holding).toBe(true);
  return gate;
}

/** What libvirtd gets if this is the destination's answer to the call with that serial. */
function answered(serial: number, bytes: Uint8Array, calls: readonly Uint8Array[] = untilFinish) {
  const upTo = calls.findIndex((call) => packetsIn([call])[0]!.serial === serial);
  const gate = gateOf();
  const effects = play(gate, calls.slice(0, upTo + 1), (call) =>
    call.serial === serial ? bytes : answerOf(call),
  );
  return { ...effects, gate, last: packetsIn(effects.toClient).at(-1)! };
}

describe("what the destination is told", () => {
  test("holds no definition, no path of this host and no leases", () => {
    const inner = "<domain><name>web1</name></domain><lockstate driver='x'><leases>y</leases></lockstate>";
    const payload = finishArguments({ cookie: cookieXmls.finish.replace("</qemu-", `${inner}</qemu-`) });
    const { toServer } = play(gateOf(), [...untilPrepared, callPacket(finish, 9, payload)]);
    const said = Buffer.concat(toServer).toString("latin1");
    expect(said).toContain("<memory_total>273227776</memory_total>");
    for (const secret of ["<domain", "/run/src", "destination_xml", "migrate_uri", "disks_uri", "lockstate"])
      expect(said).not.toContain(secret);
  });

  test("is a migration that the destination's gate lets through", () => {
    const ours = { ...domain, xml: "<domain/>", migrateUri: "unix:///d/mig", disksUri: "unix:///d/nbd" };
    const destination = new DestinationGate(ours);
    const source = gateOf();
    const answers = (call: Packet): Uint8Array | undefined => {
      const { toServer, toClient } = destination.fromClient(packet(call, call.payload));
      const back = packetsIn(toServer).flatMap((sent) => destination.fromServer(answerOf(sent)).toClient);
      return Buffer.concat([...toClient, ...back]);
    };
    const { events, refused } = play(source, untilFinish, answers);
    expect([refused, destination.refused]).toEqual([undefined, undefined]);
    expect(events.map(({ kind }) => kind)).toEqual(["prepared", "finishing", "finish-answered"]);
  });

  test("is nothing of keepalive, of callbacks, of features that say nothing of migrations, and not the end", () => {
    const gate = gateOf();
    const { toServer } = play(gate, [keepalive(1), ...untilFinish]);
    expect(packetsIn(toServer).map(({ procedure }) => procedure)).toEqual([66, 1, 60, 60, 60, 303, 306]);
    gate.release();
    const { toServer: after, toClient, events } = gate.fromClient(sourceCalls.at(-1)!);
    expect(after).toEqual([]);
    expect(packetsIn(toClient)).toMatchObject([{ procedure: 2, serial: 10, status: 0 }]);
    expect(events).toEqual([{ kind: "closed" }]);
  });

  test("is nothing of another domain, should libvirtd migrate that", () => {
    const params = [...sentParams, param("destination_name", "web2")];
    const other = callPacket(prepare, 8, migrationArguments({ params }));
    const { refused, toServer } = play(gateOf(), [...sourceCalls.slice(0, 8), other]);
    expect(refused?.code).toBe("protocol");
    expect(packetsIn(toServer).some(({ procedure }) => procedure === 303)).toBe(false);
  });

  test("is nothing but a migration's calls", () => {
    const { refused, toServer } = gateOf().fromClient(packet({ procedure: 10 }));
    expect(refused?.code).toBe("policy");
    expect(toServer).toEqual([]);
  });
});

describe("the answer to FINISH", () => {
  test("is held until it is released, as it came", () => {
    const gate = heldGate();
    const { toClient, toServer } = gate.release();
    expect(gate.holding).toBe(false);
    expect(toServer).toEqual([]);
    const [reply] = packetsIn(toClient);
    expect(reply).toMatchObject({ procedure: 306, serial: 9, type: messageTypes.reply, status: 0 });
    const { domain: there, cookie } = readFinished(reply!.payload);
    expect(there).toEqual({ name: "web1", uuid: domain.uuid, id: 2 });
    expect(Buffer.from(cookie).toString()).toBe(`${cookieXmls.finished}\0`);
  });

  test("is an error if it is refused, and libvirtd may take its leave", () => {
    const gate = heldGate();
    const [reply] = packetsIn(gate.refuse("The destination was not released").toClient);
    expect(reply).toMatchObject({ procedure: 306, serial: 9, status: 1 });
    expect(readRemoteError(reply!.payload).message).toBe("The destination was not released");
    expect(gate.holding).toBe(false);
    expect(gate.fromClient(sourceCalls.at(-1)!).events).toEqual([{ kind: "closed" }]);
  });

  test("is decided once", () => {
    const gate = gateOf();
    expect(() => gate.release()).toThrow(expect.objectContaining({ code: "bug" }));
    const held = heldGate();
    held.release();
    expect(() => held.release()).toThrow(MigrateError);
    expect(() => held.refuse("")).toThrow(MigrateError);
  });

  test("is awaited with every PING answered", () => {
    const gate = heldGate();
    for (let round = 0; round < 100; round += 1)
      expect(gate.fromClient(keepalive(1))).toEqual({
        toServer: [],
        toClient: [keepalive(2)],
        events: [],
        refused: undefined,
      });
  });

  test("stays held, whatever the destination says after it", () => {
    for (const more of [
      replyPacket(finish, 9, finishedResult()),
      errorPacket(finish, 9, "no"),
      Buffer.from("hello, this is no packet of libvirt's"),
      packet({ procedure: 362, type: messageTypes.message }, number(0)),
    ]) {
      const gate = heldGate();
      const { refused, toClient } = gate.fromServer(more);
      // An answer to libvirtd now, or the end of its connection, would let the domain go on here.
      expect(toClient).toEqual([]);
      expect(refused?.code).toBe("protocol");
      expect(gate.holding).toBe(true);
      expect(gate.fromClient(keepalive(1)).toClient).toEqual([keepalive(2)]);
      expect(gate.fromServer(keepalive(1)).toServer).toEqual([]);
      expect(packetsIn(gate.release().toClient)).toMatchObject([{ serial: 9, status: 0 }]);
      expect(gate.fromClient(sourceCalls.at(-1)!).events).toEqual([{ kind: "closed" }]);
    }
  });

  test("is not held if it is an error: nothing has to be decided", () => {
    const { gate, last, events } = answered(9, errorPacket(finish, 9, "guest unexpectedly quit", 1));
    expect(gate.holding).toBe(false);
    expect(last).toMatchObject({ serial: 9, status: 1 });
    expect(events.at(-1)).toEqual({ kind: "failed", procedure: finish, message: "guest unexpectedly quit" });
  });

  test("may come without a cookie", () => {
    const { gate, events } = answered(9, replyPacket(finish, 9, finishedResult({ cookie: "" })));
    expect(gate.holding).toBe(true);
    expect(events.at(-1)).toEqual({ kind: "finish-answered" });
  });

  const wrong: Record<string, Uint8Array> = {
    "has another name": finishedResult({ name: "web2" }),
    "has another UUID": finishedResult({ uuid: "5a6b7c8d-1111-4222-8333-000000000000" }),
    "has another domain's cookie": finishedResult({ cookie: cookieXml("", { name: "web2" }) }),
    "is empty": new Uint8Array(0),
    "goes on": Buffer.concat([finishedResult(), Buffer.alloc(4)]),
  };
  for (const [what, result] of Object.entries(wrong)) {
    test(`${what}: libvirtd gets an error, so that the domain goes on here`, () => {
      const { gate, last, refused } = answered(9, replyPacket(finish, 9, result));
      expect(gate.holding).toBe(false);
      expect(refused).toBeInstanceOf(MigrateError);
      expect(last).toMatchObject({ serial: 9, status: 1 });
    });
  }

  test("to a migration that was cancelled is no domain: libvirtd would end its own", () => {
    const cancelled = callPacket(finish, 9, finishArguments({ cancelled: 1, cookie: Buffer.alloc(0) }));
    const calls = [...untilPrepared, cancelled];
    const { gate, last, refused } = answered(9, replyPacket(finish, 9, finishedResult()), calls);
    expect(gate.holding).toBe(false);
    expect(refused?.code).toBe("protocol");
    expect(last).toMatchObject({ serial: 9, status: 1 });
  });
});

describe("the end of the destination's connection", () => {
  test("is an error for FINISH that has no answer yet, so that the domain goes on here", () => {
    const gate = gateOf();
    play(gate, untilFinish, (call) => (call.serial === 9 ? undefined : answerOf(call)));
    const { toClient } = gate.serverEnded();
    expect(packetsIn(toClient)).toMatchObject([{ procedure: 306, serial: 9, status: 1 }]);
  });

  test("is nothing to libvirtd while the answer is held, and while it does what the answer said", () => {
    const gate = heldGate();
    expect(gate.serverEnded()).toMatchObject({ toClient: [], refused: undefined });
    expect(gate.parting).toBe("own-time");
    gate.release();
    expect(gate.fromServer(keepalive(9)).refused?.code).toBe("protocol");
    expect([gate.parting, gate.refused]).toEqual(["own-time", undefined]);
    expect(gate.fromClient(sourceCalls.at(-1)!).events).toEqual([{ kind: "closed" }]);
  });
});

describe("other answers of the destination", () => {
  test("PREPARE's cookie passes without graphics and port data", () => {
    const inner =
      "<graphics type='spice' port='1' listen='x' tlsPort='2'/><network><interface index='0'/></network>";
    const cookie = cookieXmls.prepared.replace("</qemu-", `${inner}</qemu-`);
    const { last } = answered(8, replyPacket(prepare, 8, preparedResult(cookie)));
    expect(Buffer.from(readPrepared(last.payload).cookie).toString()).toBe(`${cookieXmls.prepared}\0`);
  });

  test("an URI may be the one that was asked with, and no other", () => {
    const asked = answered(8, replyPacket(prepare, 8, preparedResult(undefined, sourceUris.migrate)));
    expect(readPrepared(asked.last.payload).uri).toBe(sourceUris.migrate);
    const other = answered(8, replyPacket(prepare, 8, preparedResult(undefined, "tcp://203.0.113.1:49152")));
    expect(other.refused?.code).toBe("protocol");
    expect(other.last).toMatchObject({ serial: 8, status: 1 });
  });

  test("a sentence of an error is bounded and printable", () => {
    const { last } = answered(8, errorPacket(prepare, 8, `\u001b[2J${"x".repeat(5_000)}`));
    const { message } = readRemoteError(last.payload);
    expect(message.length).toBe(1024);
    expect(message.startsWith("?[2Jxxx")).toBe(true);
  });

  test("an error without a sentence, with numbers that libvirt does not have, is still one", () => {
    const writer = new XdrWriter().i32(-7).i32(70_000).bool(false).i32(9);
    for (let field = 0; field < 4; field += 1) writer.bool(false);
    const payload = writer.i32(0).i32(0).bool(false).bytes();
    const { last } = answered(8, packet({ procedure: 303, serial: 8, type: 1, status: 1 }, payload));
    expect(readRemoteError(last.payload)).toEqual({ code: 9, domain: 7, message: "no reason was given" });
  });

  test("a wish for authentication is refused: libvirtd would ask its own passwords for it", () => {
    const sasl = new XdrWriter().u32(1).i32(1).bytes();
    const { refused, last } = answered(0, replyPacket("AUTH_LIST", 0, sasl));
    expect(refused?.code).toBe("policy");
    expect(last).toMatchObject({ serial: 0, status: 1 });
  });

  test("calls, events, streams, and answers that nobody asked for close the gate", () => {
    for (const type of [0, 2, 3, 4, 5, 6]) {
      const { refused } = gateOf().fromServer(packet({ procedure: 362, type }));
      expect(refused?.code).toBe("protocol");
    }
    expect(gateOf().fromServer(replyPacket("AUTH_LIST", 0)).refused?.code).toBe("protocol");
    expect(gateOf().fromServer(packet({ program: 0x20008087, type: 1 })).refused?.code).toBe("protocol");
  });
});

test("20,000 fuzzed answers: libvirtd gets answers to what it asked, and never a domain but ours", () => {
  const random = seeded("a hostile destination");
  let packets = 0;
  let held = 0;
  while (packets < 20_000) {
    const gate = gateOf();
    const asked = new Set<number>();
    const check = ({ toClient, refused }: Effects<unknown>) => {
      if (refused !== undefined) expect(refused).toBeInstanceOf(MigrateError);
      for (const { serial, procedure, type, status, program } of packetsIn(toClient)) {
        if (program === 0x6b656570) continue;
        expect(type).toBe(messageTypes.reply);
        expect(asked.delete(serial)).toBe(true);
        if (procedure === 306) expect(status).toBe(1);
      }
    };
    for (const call of untilFinish) {
      if (gate.refused !== undefined) break;
      asked.add(packetsIn([call])[0]!.serial);
      const effects = gate.fromClient(call);
      check(effects);
      for (const sent of packetsIn(effects.toServer)) {
        const bytes = Buffer.from(answerOf(sent));
        packets += 1;
        const kind = random.below(10);
        if (kind === 0) bytes[random.below(bytes.length)] = random.below(256);
        if (kind === 1)
          bytes.writeUInt32BE(random.pick([0, 1, 2, 0xffff_ffff]), 4 * random.below(bytes.length / 4));
        check(gate.fromServer(bytes));
        if (gate.holding) {
          held += 1;
          const [reply] = packetsIn(gate.release().toClient);
          expect(readFinished(reply!.payload).domain).toMatchObject({ name: domain.name, uuid: domain.uuid });
        }
      }
    }
  }
  expect(held).toBeGreaterThan(200);
}, 60_000);
