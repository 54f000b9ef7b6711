/** What the destination's gate lets through of a migration, and what it makes of it. */
import { describe, expect, test } from "bun:test";
import {
  DestinationGate,
  type DestinationGateOptions,
} from "../../../../src/vm/libvirt/rpc/destination-gate.ts";
import { migrateFlags, readFinished, readPrepared } from "../../../../src/vm/libvirt/rpc/migration-call.ts";
import { messageTypes, type Packet } from "../../../../src/vm/libvirt/rpc/packet.ts";
import { procedures } from "../../../../src/vm/libvirt/rpc/procedures.ts";
import { migrateFinishOk, readRemoteError } from "../../../../src/vm/libvirt/rpc/remote-error.ts";
import { readTypedParams } from "../../../../src/vm/libvirt/rpc/typed-params.ts";
import { XdrReader, XdrWriter } from "../../../../src/vm/libvirt/rpc/xdr.ts";
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
  openArguments,
  packet,
  packetsIn,
  param,
  play,
  preparedResult,
  replyPacket,
  sentFlags,
  sentParams,
  sourceCalls,
  sourceUris,
} from "../../../support/libvirt/hostile/rpc-talk.ts";

const ours: DestinationGateOptions = {
  ...domain,
  xml: "<domain type='kvm'><name>web1</name><title>ours</title></domain>",
  migrateUri: "unix:///run/dst/mig.sock",
  disksUri: "unix:///run/dst/nbd.sock",
};
const gateOf = (changes: Partial<DestinationGateOptions> = {}) =>
  new DestinationGate({ ...ours, ...changes });

/** All but FINISH and what follows; then also FINISH. */
const untilPrepared = sourceCalls.slice(0, 9);
const untilFinished = sourceCalls.slice(0, 10);

/** The arguments of a migration's call, as the daemon reads them. */
function argumentsOf({ payload }: Packet, finishing: boolean) {
  const reader = new XdrReader(payload);
  const params = readTypedParams(reader, 1 << 20).map(({ field, value }) => [field, value]);
  const cookie = Buffer.from(reader.opaque(1 << 20)).toString();
  const flags = reader.u32();
  const cancelled = finishing ? reader.u32() : undefined;
  reader.end();
  return { params, cookie, flags, cancelled };
}

const callOf = (sent: readonly Uint8Array[], name: keyof typeof procedures) =>
  packetsIn(sent).filter(({ procedure }) => procedure === procedures[name]);

// [DOM-2] [DOM-3]
describe("a migration as libvirt 9.0 makes it", () => {
  test("reaches the daemon as six procedures, and comes to its end", () => {
    const { toServer, toClient, events, refused } = play(gateOf());
    expect(refused).toBeUndefined();
    expect(packetsIn(toServer).map(({ procedure, serial }) => [procedure, serial])).toEqual([
      [66, 0],
      [1, 2],
      [60, 5],
      [60, 6],
      [60, 7],
      [303, 8],
      [306, 9],
      [2, 10],
    ]);
    expect(events).toEqual([
      { kind: "prepared" },
      { kind: "finishing", cancelled: false },
      { kind: "finished", domain: true },
    ]);
    const answers = packetsIn(toClient);
    expect(answers.map(({ serial }) => serial)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(answers.every(({ type, status }) => type === messageTypes.reply && status === 0)).toBe(true);
    expect(readPrepared(answers[8]!.payload).uri).toBeNull();
    expect(readFinished(answers[9]!.payload).domain).toEqual({ name: "web1", uuid: domain.uuid, id: 2 });
  });

  test("is the same with all of it in one piece, or byte by byte", () => {
    const whole = Buffer.concat(sourceCalls.slice(0, 1));
    const gate = gateOf();
    let sent: Uint8Array[] = [];
    for (const byte of whole) sent = [...sent, ...gate.fromClient(Uint8Array.of(byte)).toServer];
    expect(sent).toEqual(gateOf().fromClient(whole).toServer);
    const answers = [...answerOf(packetsIn(sent)[0]!)].map(
      (byte) => gate.fromServer(Uint8Array.of(byte)).toClient,
    );
    expect(packetsIn(answers.flat()).length).toBe(1);
  });

  test("opens what the gate was told to, whatever the source says", () => {
    const calls = [callPacket("AUTH_LIST", 0), callPacket("CONNECT_OPEN", 1, openArguments("lxc:///system"))];
    const opened = (gate: DestinationGate) => callOf(play(gate, calls).toServer, "CONNECT_OPEN")[0]?.payload;
    expect(opened(gateOf())).toEqual(openArguments("qemu:///system"));
    expect(opened(gateOf({ uri: "qemu:///session" }))).toEqual(openArguments("qemu:///session"));
  });

  test("prepares our definition, at our places, paused", () => {
    const [prepare] = callOf(play(gateOf(), untilPrepared).toServer, "DOMAIN_MIGRATE_PREPARE3_PARAMS");
    const { params, flags, cookie } = argumentsOf(prepare!, false);
    expect(params).toEqual([
      ["destination_xml", ours.xml],
      ["destination_name", "web1"],
      ["migrate_uri", ours.migrateUri],
      ["migrate_disks", "vda"],
      ["migrate_disks", "vdb"],
      ["disks_uri", ours.disksUri],
    ]);
    expect(flags).toBe(sentFlags);
    expect(cookie).toBe(`${cookieXmls.prepare.replace("  <feature name='lockstate'/>\n", "")}\0`);
  });

  test("without disks says nothing of disks", () => {
    const [prepare] = callOf(
      play(gateOf({ disks: [] }), untilPrepared).toServer,
      "DOMAIN_MIGRATE_PREPARE3_PARAMS",
    );
    const { params, flags, cookie } = argumentsOf(prepare!, false);
    expect(params.map(([field]) => field)).toEqual(["destination_xml", "destination_name", "migrate_uri"]);
    expect(flags).toBe(sentFlags & ~migrateFlags.NON_SHARED_DISK);
    expect(cookie).not.toContain("nbd");
  });

  test("finishes with our name alone, and leaves the domain paused and transient", () => {
    const { PERSIST_DEST, PAUSED } = migrateFlags;
    const definition = "<feature name='persistent'/><domain><name>web1</name></domain>";
    const cookie = cookieXmls.finish.replace("</qemu-", `${definition}</qemu-`);
    const payload = finishArguments({ cookie, flags: (sentFlags & ~PAUSED) | PERSIST_DEST });
    const calls = [...untilPrepared, callPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", 9, payload)];
    const [finish] = callOf(play(gateOf(), calls).toServer, "DOMAIN_MIGRATE_FINISH3_PARAMS");
    expect(argumentsOf(finish!, true)).toEqual({
      params: [["destination_name", "web1"]],
      cookie: `${cookieXmls.finish}\0`,
      flags: sentFlags,
      cancelled: 0,
    });
  });

  test("flags that concern the source alone are left out", () => {
    const { PERSIST_DEST, UNDEFINE_SOURCE, CHANGE_PROTECTION, UNSAFE, ABORT_ON_ERROR } = migrateFlags;
    const { AUTO_CONVERGE, NON_SHARED_SYNCHRONOUS_WRITES, LIVE, PEER2PEER } = migrateFlags;
    const flags = [PERSIST_DEST, UNDEFINE_SOURCE, CHANGE_PROTECTION, UNSAFE, ABORT_ON_ERROR, AUTO_CONVERGE];
    const all = [...flags, NON_SHARED_SYNCHRONOUS_WRITES, LIVE, PEER2PEER].reduce((sum, flag) => sum | flag);
    const calls = [
      ...sourceCalls.slice(0, 8),
      callPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", 8, migrationArguments({ flags: all })),
    ];
    const [prepare] = callOf(play(gateOf(), calls).toServer, "DOMAIN_MIGRATE_PREPARE3_PARAMS");
    expect(argumentsOf(prepare!, false).flags).toBe(sentFlags);
  });
});

describe("answered by the gate", () => {
  test("PING, at both ends; PONG is taken", () => {
    const gate = gateOf();
    for (const take of [gate.fromClient.bind(gate), gate.fromServer.bind(gate)]) {
      const { toClient, toServer, refused } = take(Buffer.concat([keepalive(1), keepalive(2), keepalive(1)]));
      expect([...toClient, ...toServer]).toEqual([keepalive(2), keepalive(2)]);
      expect(refused).toBeUndefined();
    }
    expect(gate.fromClient(keepalive(1)).toServer).toEqual([]);
    expect(gate.fromServer(keepalive(1)).toClient).toEqual([]);
  });

  test("features: keepalive is one; of the others those of a migration alone are the daemon's to say", () => {
    for (let feature = -1; feature < 100; feature += 1) {
      const calls = [...sourceCalls.slice(0, 3), callPacket("CONNECT_SUPPORTS_FEATURE", 9, number(feature))];
      const { toServer, toClient } = play(gateOf(), calls);
      const answer = packetsIn(toClient).at(-1)!;
      expect(answer.payload).toEqual(number([4, 6, 10, 13].includes(feature) ? 1 : 0));
      expect(packetsIn(toServer).some(({ procedure }) => procedure === 60)).toBe(
        [4, 6, 13].includes(feature),
      );
    }
  });

  test("the callback for the connection's end, which nobody here would call", () => {
    const calls = [
      ...sourceCalls.slice(0, 3),
      callPacket("CONNECT_REGISTER_CLOSE_CALLBACK", 3),
      callPacket("CONNECT_UNREGISTER_CLOSE_CALLBACK", 4),
    ];
    const { toServer, toClient, refused } = play(gateOf(), calls);
    expect(refused).toBeUndefined();
    expect(
      packetsIn(toClient)
        .slice(-2)
        .map(({ serial, status }) => [serial, status]),
    ).toEqual([
      [3, 0],
      [4, 0],
    ]);
    expect(packetsIn(toServer).map(({ procedure }) => procedure)).toEqual([66, 1]);
  });
});

describe("what the daemon answers", () => {
  test("an URI is the one that the source asked with", () => {
    const answer = (call: Packet) =>
      call.procedure === procedures.DOMAIN_MIGRATE_PREPARE3_PARAMS
        ? replyPacket(
            "DOMAIN_MIGRATE_PREPARE3_PARAMS",
            8,
            preparedResult(cookieXmls.prepared, ours.migrateUri),
          )
        : answerOf(call);
    const { toClient } = play(gateOf(), untilPrepared, answer);
    expect(readPrepared(packetsIn(toClient).at(-1)!.payload).uri).toBe(sourceUris.migrate);
  });

  test("an error is passed on without the paths of this host, and told here with them", () => {
    const sentence = "Unable to open '/var/lib/vms/web1/vda.qcow2': Permission denied";
    const answer = (call: Packet) =>
      call.serial === 8 ? errorPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", 8, sentence) : answerOf(call);
    const { toClient, events, refused } = play(gateOf(), sourceCalls.slice(0, 9), answer);
    expect(refused).toBeUndefined();
    expect(readRemoteError(packetsIn(toClient).at(-1)!.payload)).toEqual({
      code: 38,
      domain: 10,
      message: "Unable to open '(path)': Permission denied",
    });
    expect(events).toEqual([
      { kind: "failed", procedure: "DOMAIN_MIGRATE_PREPARE3_PARAMS", message: sentence },
    ]);
  });

  test("after an error of PREPARE there is nothing to finish, but to close", () => {
    const answer = (call: Packet) =>
      call.serial === 8 ? errorPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", 8, "no") : answerOf(call);
    expect(play(gateOf(), sourceCalls, answer).refused?.message).toContain(
      "FINISH3_PARAMS came out of order",
    );
    const closing = [...untilPrepared, sourceCalls.at(-1)!];
    expect(play(gateOf(), closing, answer).refused).toBeUndefined();
  });

  const finishWith = (bytes: Uint8Array, cancelled = 0) => {
    const payload = finishArguments({ cancelled, ...(cancelled === 0 ? {} : { cookie: Buffer.alloc(0) }) });
    const calls = [...untilPrepared, callPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", 9, payload)];
    return play(gateOf(), calls, (call) => (call.serial === 9 ? bytes : answerOf(call)));
  };

  test("FINISH that failed, and FINISH that was cancelled, are told apart", () => {
    const failed = finishWith(errorPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", 9, "guest unexpectedly quit", 1));
    expect(failed.events.slice(-2)).toEqual([
      { kind: "failed", procedure: "DOMAIN_MIGRATE_FINISH3_PARAMS", message: "guest unexpectedly quit" },
      { kind: "finished", domain: false },
    ]);
    const ok = errorPacket(
      "DOMAIN_MIGRATE_FINISH3_PARAMS",
      9,
      "migration successfully aborted",
      migrateFinishOk,
    );
    const cancelled = finishWith(ok, 1);
    expect(cancelled.refused).toBeUndefined();
    expect(cancelled.events.slice(-2)).toEqual([
      { kind: "finishing", cancelled: true },
      { kind: "cancelled" },
    ]);
    expect(readRemoteError(packetsIn(cancelled.toClient).at(-1)!.payload).code).toBe(migrateFinishOk);
  });

  test("a domain that was cancelled, or another one, is none of this migration's", () => {
    const reply = (result: Uint8Array) => replyPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", 9, result);
    for (const { refused, toClient, events } of [
      finishWith(reply(finishedResult()), 1),
      finishWith(reply(finishedResult({ name: "web2" }))),
      finishWith(reply(finishedResult({ uuid: "5a6b7c8d-1111-4222-8333-000000000000" }))),
    ]) {
      expect(refused?.code).toBe("protocol");
      expect(packetsIn(toClient).at(-1)).toMatchObject({ serial: 9, status: 1 });
      expect(events.some(({ kind }) => kind === "finished")).toBe(false);
    }
  });

  test("a wish for authentication is nothing that the source could fulfil", () => {
    const answer = (call: Packet) =>
      replyPacket("AUTH_LIST", call.serial, new XdrWriter().u32(1).i32(2).bytes());
    const { refused, toClient } = play(gateOf(), sourceCalls.slice(0, 1), answer);
    expect(refused?.code).toBe("policy");
    expect(refused?.hint).toContain("root");
    expect(readRemoteError(packetsIn(toClient)[0]!.payload).message).toContain("authentication");
  });

  test("an event goes nowhere; an answer that nobody asked for closes the gate", () => {
    const gate = gateOf();
    const event = packet({ procedure: 362, type: messageTypes.message }, number(0));
    expect(gate.fromServer(event)).toEqual({ toServer: [], toClient: [], events: [], refused: undefined });
    expect(gate.fromServer(answerOf(packetsIn([sourceCalls[0]!])[0]!)).refused?.code).toBe("protocol");
  });

  test("an answer with another serial, procedure or type closes the gate", () => {
    for (const answer of [
      replyPacket("AUTH_LIST", 1, new XdrWriter().u32(1).i32(0).bytes()),
      replyPacket("CONNECT_OPEN", 0, new XdrWriter().u32(1).i32(0).bytes()),
      packet({ procedure: 66, type: messageTypes.replyWithFds }),
      packet({ procedure: 66, type: messageTypes.reply, status: 2 }),
    ]) {
      const { refused, toClient } = play(gateOf(), sourceCalls.slice(0, 1), () => answer);
      expect(refused?.code).toBe("protocol");
      // The source hears of it as the answer to what it asked.
      expect(packetsIn(toClient)).toMatchObject([{ procedure: 66, serial: 0, status: 1 }]);
    }
  });
});

describe("parameters", () => {
  const prepareWith = (changes: Parameters<typeof migrationArguments>[0]) =>
    play(gateOf(), [
      ...sourceCalls.slice(0, 8),
      callPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", 8, migrationArguments(changes)),
    ]);

  test("that the destination has no use for are left out", () => {
    const { toServer, refused } = prepareWith({
      params: [
        ...sentParams,
        { field: "bandwidth", type: "ullong", value: 5n },
        param("migrate_disks", "vda"),
        param("migrate_disks", "vdb"),
        param("graphics_uri", "spice://203.0.113.1"),
      ],
    });
    expect(refused).toBeUndefined();
    const { params } = argumentsOf(packetsIn(toServer).at(-1)!, false);
    expect(params.map(([field]) => field)).not.toContain("graphics_uri");
    expect(params.map(([field]) => field)).not.toContain("bandwidth");
  });

  const wrong: Record<string, [Parameters<typeof migrationArguments>[0], string]> = {
    "another name": [{ params: [...sentParams, param("destination_name", "web2")] }, "policy"],
    "a disk that was not agreed on": [{ params: [...sentParams, param("migrate_disks", "sda")] }, "policy"],
    compression: [{ params: [...sentParams, param("compression", "xbzrle")] }, "policy"],
    "a listening address": [{ params: [...sentParams, param("listen_address", "::")] }, "policy"],
    "a port": [{ params: [...sentParams, { field: "disks_port", type: "int", value: 22 }] }, "policy"],
    "a name of Object's": [{ params: [param("constructor", "x")] }, "policy"],
    "one twice": [{ params: [...sentParams, ...sentParams] }, "protocol"],
    "one of another type": [{ params: [{ field: "destination_xml", type: "int", value: 1 }] }, "protocol"],
    "an URI of a megabyte": [{ params: [param("migrate_uri", "u".repeat(5000))] }, "protocol"],
    "a cookie for another domain": [{ cookie: cookieXml("", { name: "web2" }) }, "policy"],
    "no cookie": [{ cookie: Buffer.alloc(0) }, "protocol"],
    "a cookie beyond its limit": [{ cookie: Buffer.alloc(300_000, " ") }, "protocol"],
  };
  for (const [what, [changes, code]] of Object.entries(wrong)) {
    test(`${what}: refused`, () => {
      const { refused, toServer, toClient } = prepareWith(changes);
      expect(refused?.code as string).toBe(code);
      expect(callOf(toServer, "DOMAIN_MIGRATE_PREPARE3_PARAMS")).toEqual([]);
      const error = packetsIn(toClient).at(-1)!;
      expect(error).toMatchObject({ procedure: 303, serial: 8, type: messageTypes.reply, status: 1 });
      expect(readRemoteError(error.payload).message).toBe(refused!.message);
    });
  }

  const { TUNNELLED, NON_SHARED_INC, OFFLINE, COMPRESSED, RDMA_PIN_ALL, POSTCOPY, TLS } = migrateFlags;
  const { PARALLEL, POSTCOPY_RESUME, ZEROCOPY } = migrateFlags;
  const stream = { TUNNELLED, NON_SHARED_INC, OFFLINE, COMPRESSED, RDMA_PIN_ALL, POSTCOPY, TLS };
  for (const [name, flag] of Object.entries({
    ...stream,
    PARALLEL,
    POSTCOPY_RESUME,
    ZEROCOPY,
    unknown: 1 << 21,
  })) {
    test(`the flag ${name}: refused`, () => {
      const { refused, toServer } = prepareWith({ flags: sentFlags | flag });
      expect(refused?.code).toBe("policy");
      expect(callOf(toServer, "DOMAIN_MIGRATE_PREPARE3_PARAMS")).toEqual([]);
    });
  }

  test("FINISH is held to the same", () => {
    const finish = (payload: Uint8Array) =>
      play(gateOf(), [...untilPrepared, callPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", 9, payload)]).refused
        ?.code;
    expect(finish(finishArguments())).toBeUndefined();
    expect(finish(finishArguments({ params: [param("destination_name", "web2")] }))).toBe("policy");
    expect(finish(finishArguments({ flags: sentFlags | migrateFlags.OFFLINE }))).toBe("policy");
    expect(finish(finishArguments({ cancelled: 2 }))).toBe("protocol");
    expect(finish(finishArguments({ cookie: Buffer.alloc(0) }))).toBe("protocol");
    expect(finish(finishArguments({ cookie: cookieXml("", { uuid: "x" }) }))).toBe("policy");
  });

  test("nothing goes on once the gate is closed; the source may only take its leave", () => {
    const gate = gateOf();
    play(gate, untilFinished);
    expect(gate.parting).toBe("soon");
    expect(gate.fromClient(untilFinished.at(-1)!).refused).toBeDefined();
    const feature = gate.fromClient(callPacket("CONNECT_SUPPORTS_FEATURE", 50, number(4)));
    expect(feature).toEqual({ toServer: [], toClient: [], events: [], refused: gate.refused });
    const { toServer, toClient, refused } = gate.fromClient(callPacket("CONNECT_CLOSE", 99));
    expect([toServer, refused]).toEqual([[], gate.refused]);
    expect(packetsIn(toClient)).toMatchObject([
      { procedure: 2, serial: 99, type: messageTypes.reply, status: 0 },
    ]);
    expect(gate.fromServer(keepalive(1)).toServer).toEqual([]);
  });

  test("nothing is read any more once it is not known where a packet begins", () => {
    const gate = gateOf();
    expect(gate.fromClient(Buffer.alloc(28)).refused?.code).toBe("protocol");
    expect(gate.fromClient(callPacket("CONNECT_CLOSE", 99)).toClient).toEqual([]);
  });
});

describe("the end of the daemon", () => {
  test("is the answer to the call that waits for one", () => {
    const gate = gateOf();
    play(gate, untilPrepared, (call) => (call.serial === 8 ? undefined : answerOf(call)));
    const { toClient, refused } = gate.serverEnded();
    expect(refused?.code).toBe("network");
    expect(packetsIn(toClient)).toMatchObject([{ procedure: 303, serial: 8, status: 1 }]);
    expect(gate.parting).toBe("soon");
  });

  test("is the source's end at once if none does: it looks for that while it migrates", () => {
    const gate = gateOf();
    play(gate, untilPrepared);
    expect(gate.serverEnded()).toEqual({ toServer: [], toClient: [], events: [], refused: undefined });
    expect(gate.parting).toBe("at-once");
  });
});
