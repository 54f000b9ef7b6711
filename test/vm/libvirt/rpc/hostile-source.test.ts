/** A source with an RPC client of its own: whatever it sends, the daemon hears a migration of ours or nothing. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { DestinationGate } from "../../../../src/vm/libvirt/rpc/destination-gate.ts";
import { migrateFlags } from "../../../../src/vm/libvirt/rpc/migration-call.ts";
import { messageTypes, type Packet, PacketCutter, statuses } from "../../../../src/vm/libvirt/rpc/packet.ts";
import { procedureOf, procedures, remoteProgram } from "../../../../src/vm/libvirt/rpc/procedures.ts";
import { readRemoteError } from "../../../../src/vm/libvirt/rpc/remote-error.ts";
import { readTypedParams } from "../../../../src/vm/libvirt/rpc/typed-params.ts";
import { XdrReader } from "../../../../src/vm/libvirt/rpc/xdr.ts";
import {
  answerOf,
  callPacket,
  domain,
  finishArguments,
  keepalive,
  number,
  openArguments,
  packet,
  packetsIn,
  play,
  sourceCalls,
} from "../../../support/libvirt/hostile/rpc-talk.ts";
import { type SeededRandom, seeded } from "../../../support/system/random.ts";

const ours = {
  ...domain,
  xml: "<domain type='kvm'><name>web1</name></domain>",
  migrateUri: "unix:///run/dst/mig.sock",
  disksUri: "unix:///run/dst/nbd.sock",
};
const gateOf = () => new DestinationGate(ours);

/** The calls up to each stage, and how many the daemon has heard by then. */
const stages = { fresh: 0, opened: 3, prepared: 9, finished: 10 };

/** That the last call was refused: the daemon did not hear of it, and the source was told why. */
function expectRefused(calls: readonly Uint8Array[]): MigrateError {
  const gate = gateOf();
  play(gate, calls.slice(0, -1));
  expect(gate.refused).toBeUndefined();
  const { toServer, toClient, refused } = gate.fromClient(calls.at(-1)!);
  expect(toServer).toEqual([]);
  expect(refused).toBeInstanceOf(MigrateError);
  const [call] = packetsIn([calls.at(-1)!]);
  if (call!.type === messageTypes.call) {
    const [error] = packetsIn(toClient);
    const { payload: _, ...head } = call!;
    expect(error).toMatchObject({ ...head, type: messageTypes.reply, status: statuses.error });
    expect(readRemoteError(error!.payload).message).toBe(refused!.message);
  } else expect(toClient).toEqual([]);
  return refused!;
}

// [DOM-3]
describe("every other procedure", () => {
  for (const [stage, count] of Object.entries(stages)) {
    test(`from 0 to 700 is refused by its number: ${stage}`, () => {
      for (let procedure = 0; procedure <= 700; procedure += 1) {
        if (procedureOf(procedure) !== undefined) continue;
        const refused = expectRefused([...sourceCalls.slice(0, count), packet({ procedure, serial: 50 })]);
        expect(refused.code).toBe("policy");
        expect(refused.message).toContain(String(procedure));
      }
    });
  }

  test("those that pass are eight", () => {
    const passing = Array.from({ length: 701 }, (_, procedure) => procedureOf(procedure)).filter(Boolean);
    expect(passing.sort()).toEqual(Object.keys(procedures).sort() as typeof passing);
    expect(procedureOf(-1)).toBeUndefined();
  });

  const programs = {
    qemu: 0x20008087,
    lxc: 0x20008088,
    admin: 0x06900690,
    "lock daemon": 0xeaf7beef,
    "log daemon": 0x87539319,
    none: 0,
    any: 0xffff_ffff,
  };
  for (const [name, program] of Object.entries(programs)) {
    test(`of the program ${name}`, () => {
      for (const { procedure } of packetsIn(sourceCalls).concat(packetsIn([keepalive(1), keepalive(2)])))
        expect(expectRefused([packet({ program, procedure, serial: 50 })]).code).toBe("policy");
    });
  }

  test("of another version of the program", () => {
    for (const version of [0, 2, 0xffff_ffff])
      expect(expectRefused([packet({ version, procedure: 66 })]).code).toBe("protocol");
  });

  test("of the keepalive program, and PING with something to it", () => {
    const ping = { program: 0x6b656570, procedure: 1, type: messageTypes.message };
    expectRefused([keepalive(0)]);
    expectRefused([keepalive(3)]);
    for (const changes of [{ version: 2 }, { type: messageTypes.call }, { serial: 1 }, { status: 1 }])
      expectRefused([packet({ ...ping, ...changes })]);
    expectRefused([packet(ping, number(0))]);
  });
});

describe("what is no call", () => {
  for (const type of [1, 2, 3, 4, 5, 6, 7, 0xffff_ffff]) {
    test(`of the type ${type}`, () => {
      for (const count of Object.values(stages))
        for (const procedure of [...Object.values(procedures), 362])
          expectRefused([...sourceCalls.slice(0, count), packet({ procedure, type, serial: 50 })]);
    });
  }

  test("a call with a status", () => {
    for (const status of [1, 2, 3]) expectRefused([packet({ procedure: 66, status })]);
  });
});

describe("order", () => {
  const [auth, keep, open, , , p2p, , , prepare, finish, close] = sourceCalls as Uint8Array[];
  const again = (call: Uint8Array, serial: number) => {
    const [first] = packetsIn([call]);
    return packet({ procedure: first!.procedure, serial }, first!.payload);
  };
  const wrong: Record<string, Uint8Array[]> = {
    "PREPARE before it is opened": [auth!, keep!, prepare!],
    "FINISH before it is opened": [auth!, finish!],
    "CLOSE before it is opened": [auth!, close!],
    "a feature of migrations before it is opened": [auth!, p2p!],
    "a callback before it is opened": [auth!, callPacket("CONNECT_REGISTER_CLOSE_CALLBACK", 5)],
    "a second OPEN": [auth!, open!, again(open!, 5)],
    "AUTH_LIST once it is opened": [open!, again(auth!, 5)],
    "a second AUTH_LIST": [auth!, again(auth!, 5)],
    "FINISH without PREPARE": [auth!, open!, finish!],
    "a second PREPARE": [auth!, open!, prepare!, again(prepare!, 50)],
    "a second FINISH": [auth!, open!, prepare!, finish!, again(finish!, 50)],
    "PREPARE after FINISH": [auth!, open!, prepare!, finish!, again(prepare!, 50)],
    "anything after CLOSE": [auth!, open!, close!, again(p2p!, 50)],
    "a serial that was used": [auth!, open!, callPacket("CONNECT_SUPPORTS_FEATURE", 2, number(4))],
    "a serial that goes back": [auth!, open!, callPacket("CONNECT_SUPPORTS_FEATURE", 1, number(4))],
  };
  for (const [what, calls] of Object.entries(wrong)) test(what, () => void expectRefused(calls));

  test("a feature asked for thirty-three times", () => {
    const calls = Array.from({ length: 33 }, (_, serial) =>
      callPacket("CONNECT_SUPPORTS_FEATURE", serial, number(14)),
    );
    expect(expectRefused(calls).code).toBe("limit");
  });

  test("a call before the answer to the one before it, in one piece or in two", () => {
    for (const pieces of [[auth!, open!], [Buffer.concat([auth!, open!])]]) {
      const gate = gateOf();
      const effects = pieces.map((piece) => gate.fromClient(piece));
      expect(
        packetsIn(effects.flatMap(({ toServer }) => toServer)).map(({ procedure }) => procedure),
      ).toEqual([66]);
      expect(gate.refused?.code).toBe("protocol");
    }
  });

  test("a call with more or fewer bytes than its arguments have", () => {
    for (const call of [auth!, keep!, open!, prepare!, finish!, close!]) {
      const { procedure, payload } = packetsIn([call])[0]!;
      const before = sourceCalls.slice(0, sourceCalls.indexOf(call));
      const changed = [Buffer.concat([payload, Buffer.alloc(4)]), payload.subarray(0, -4)];
      for (const bytes of payload.length === 0 ? changed.slice(0, 1) : changed)
        expect(expectRefused([...before, packet({ procedure, serial: 50 }, bytes)]).code).toBe("protocol");
    }
  });

  test("OPEN with flags", () => {
    const readOnly = Buffer.from(openArguments());
    readOnly[readOnly.length - 1] = 1;
    expectRefused([auth!, callPacket("CONNECT_OPEN", 5, readOnly)]);
  });
});

describe("fuzzed", () => {
  /** What the daemon may hear, in this order, each at most once but for features. */
  const order = [66, 1, 60, 303, 306, 2];
  const { PERSIST_DEST, UNDEFINE_SOURCE, TUNNELLED, POSTCOPY, OFFLINE, TLS, UNSAFE, PAUSED } = migrateFlags;
  const never = PERSIST_DEST | UNDEFINE_SOURCE | TUNNELLED | POSTCOPY | OFFLINE | TLS | UNSAFE;

  function expectOurs(heard: readonly Packet[]): void {
    let place = 0;
    let serial = -1;
    for (const { program, version, procedure, type, status, serial: next, payload } of heard) {
      expect({ program, version }).toEqual(remoteProgram);
      expect([type, status]).toEqual([messageTypes.call, 0]);
      expect(next).toBeGreaterThan(serial);
      serial = next;
      const at = order.indexOf(procedure);
      expect(at).toBeGreaterThanOrEqual(procedure === 60 ? 2 : place);
      place = procedure === 60 ? Math.max(place, 2) : at + 1;
      const reader = new XdrReader(payload);
      if (procedure === 60) expect([4, 6, 13]).toContain(reader.i32());
      else if (procedure === 1) expect(payload).toEqual(openArguments());
      else if (procedure === 303 || procedure === 306) expectOurArguments(reader, procedure);
      else expect(payload.length).toBe(0);
    }
  }

  function expectOurArguments(reader: XdrReader, procedure: number): void {
    const params = Object.fromEntries(
      readTypedParams(reader, 1 << 20).map(({ field, value }) => [field, value]),
    );
    const { xml, name, migrateUri, disksUri } = ours;
    const named = { destination_name: name };
    const places = {
      destination_xml: xml,
      migrate_uri: migrateUri,
      disks_uri: disksUri,
      migrate_disks: "vdb",
    };
    expect(params).toEqual(procedure === 303 ? { ...named, ...places } : named);
    const cookie = Buffer.from(reader.opaque(1 << 20)).toString();
    if (cookie !== "") expect(cookie).toContain(`<name>${name}</name>\n  <uuid>${domain.uuid}</uuid>`);
    expect(cookie).not.toMatch(/<(?:domain|graphics|lockstate|network)\b/);
    const flags = reader.u32();
    expect(flags & never).toBe(0);
    expect(flags & PAUSED).toBe(PAUSED);
    if (procedure === 306) reader.bool();
    reader.end();
  }

  /** The bytes of a migration's call with something wrong about it, or not. */
  function spoiled(random: SeededRandom, call: Uint8Array): Uint8Array {
    const bytes = Buffer.from(call);
    const word = () => 4 * random.below(bytes.length / 4);
    switch (random.below(8)) {
      case 0:
        bytes[random.below(bytes.length)] = random.below(256);
        return bytes;
      case 1:
        bytes.writeUInt32BE(random.pick([0, 1, 2, 4, 60, 303, 0x7fff_ffff, 0xffff_ffff]), word());
        return bytes;
      case 2: {
        // Cut off or made longer, with a length that says so.
        const longer = Buffer.concat([bytes, random.bytes(4 * random.below(4))]);
        const cut = longer.subarray(0, Math.max(28, longer.length - 4 * random.below(8)));
        cut.writeUInt32BE(cut.length, 0);
        return cut;
      }
      case 3:
        return packet(
          { procedure: random.below(460), serial: random.below(60) },
          random.bytes(4 * random.below(20)),
        );
      case 4:
        return random.pick([keepalive(1), keepalive(2), keepalive(random.below(9))]);
      case 5: {
        // A piece of a text, of which the length stays.
        const at = random.below(bytes.length);
        const piece = random.pick(["<domain/>", "</name>", "\0", "&x;", "web2", "vda", "'"]);
        if (at > 28) bytes.write(piece, at);
        return bytes;
      }
      default:
        return bytes;
    }
  }

  test("100,000 packets: the daemon hears nothing but a migration of ours", () => {
    const random = seeded("a hostile source");
    const closings = [
      sourceCalls[9]!,
      callPacket(
        "DOMAIN_MIGRATE_FINISH3_PARAMS",
        9,
        finishArguments({ cancelled: 1, cookie: Buffer.alloc(0) }),
      ),
    ];
    let packets = 0;
    let prepared = 0;
    let heardInAll = 0;
    while (packets < 100_000) {
      const gate = gateOf();
      const heard: Packet[] = [];
      const cutter = new PacketCutter();
      const careful = random.chance(0.7);
      // A source that gets far at first and then goes wrong, or one that tries from the beginning.
      const wrongAt = careful ? random.below(12) : 0;
      for (let step = 0; gate.refused === undefined && step < 14; step += 1) {
        const regular = step === 9 ? random.pick(closings) : (sourceCalls[step] ?? random.pick(sourceCalls));
        const bytes =
          step < wrongAt ? regular : spoiled(random, random.chance(0.2) ? random.pick(sourceCalls) : regular);
        packets += 1;
        const at = random.below(bytes.length + 1);
        for (const piece of random.chance(0.5) ? [bytes] : [bytes.subarray(0, at), bytes.subarray(at)]) {
          const { toServer, refused } = gate.fromClient(piece);
          if (refused !== undefined) expect(refused).toBeInstanceOf(MigrateError);
          for (const sent of toServer.flatMap((part) => [...cutter.take(part)])) {
            heard.push({ ...sent, payload: sent.payload.slice() });
            gate.fromServer(answerOf(sent));
          }
        }
      }
      expectOurs(heard);
      heardInAll += heard.length;
      prepared += heard.filter(({ procedure }) => procedure === 303).length;
    }
    // It did get somewhere.
    expect(prepared).toBeGreaterThan(1_000);
    expect(heardInAll).toBeGreaterThan(20_000);
  }, 60_000);

  test("bytes by chance: only a MigrateError, and nothing is heard", () => {
    const random = seeded("bytes by chance");
    for (let round = 0; round < 5_000; round += 1) {
      const gate = gateOf();
      const { toServer } = gate.fromClient(random.bytes(random.below(200)));
      expect(toServer).toEqual([]);
    }
  });
});
