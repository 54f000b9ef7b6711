/**
 * What two libvirtd of version 9.0 said to each other in a migration, peer to peer, of a domain with two disks:
 * recorded once between them, and made here from its parts.
 */
import type { Effects, Gate } from "../../../../src/vm/libvirt/rpc/gate.ts";
import { migrateFlags } from "../../../../src/vm/libvirt/rpc/migration-call.ts";
import {
  buildPacket,
  messageTypes,
  type Packet,
  PacketCutter,
  type PacketHeader,
  statuses,
} from "../../../../src/vm/libvirt/rpc/packet.ts";
import {
  keepaliveProgram,
  type Procedure,
  procedures,
  remoteProgram,
} from "../../../../src/vm/libvirt/rpc/procedures.ts";
import { type TypedParam, writeTypedParams } from "../../../../src/vm/libvirt/rpc/typed-params.ts";
import { XdrWriter } from "../../../../src/vm/libvirt/rpc/xdr.ts";

export const domain = {
  name: "web1",
  uuid: "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f",
  disks: ["vda", "vdb"],
} as const;

const { LIVE, PEER2PEER, PAUSED, NON_SHARED_DISK } = migrateFlags;
/** The flags that libvirtd sent, given --live --p2p --suspend --copy-storage-all. */
export const sentFlags = LIVE | PEER2PEER | PAUSED | NON_SHARED_DISK;

export const sourceUris = { migrate: "unix:///run/src/mig.sock", disks: "unix:///run/src/nbd.sock" } as const;

export const param = (field: string, value: string): TypedParam => ({ field, type: "string", value });

/** PREPARE's parameters as libvirtd sent them. */
export const sentParams: readonly TypedParam[] = [
  param("destination_xml", `<domain type='kvm'>\n  <name>${domain.name}</name>\n</domain>\n`),
  param("migrate_uri", sourceUris.migrate),
  param("disks_uri", sourceUris.disks),
];

const nbd = `  <nbd>
    <disk target='vda' capacity='536870912'/>
    <disk target='vdb' capacity='67108864'/>
  </nbd>\n`;
const capabilities = (auto: string) => `  <capabilities>
    <cap name='xbzrle' auto='no'/>
    <cap name='${auto}' auto='yes'/>
    <cap name='zero-copy-send' auto='no'/>
  </capabilities>\n`;
const statistics = `  <statistics>
    <started>1796052368621</started>
    <delta>-9</delta>
    <downtime>51</downtime>
    <memory_total>273227776</memory_total>
    <auto_converge_throttle>0</auto_converge_throttle>
  </statistics>\n`;
const cpu = `  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>qemu64</model>
    <feature policy='require' name='hypervisor'/>
    <feature policy='require' name='lahf_lm'/>
  </cpu>\n`;

/** A cookie of the domain's with this in it. */
export function cookieXml(
  inner: string,
  { name = domain.name as string, uuid = domain.uuid as string } = {},
): string {
  return `<qemu-migration>
  <name>${name}</name>
  <uuid>${uuid}</uuid>
  <hostname>hosta</hostname>
  <hostuuid>ad0d7519-038e-4a52-9631-1e095c0385f8</hostuuid>
${inner}</qemu-migration>\n`;
}

/** The four cookies as they were. */
export const cookieXmls = {
  prepare: cookieXml(`  <feature name='lockstate'/>\n${nbd}${cpu}${capabilities("pause-before-switchover")}`),
  prepared: cookieXml(`${nbd}${capabilities("late-block-activate")}`),
  finish: cookieXml(`${nbd}${statistics}`),
  finished: cookieXml(statistics),
} as const;

/** A cookie as libvirt sends it: its NUL counts. */
export const cookieBytes = (xml: string): Uint8Array => Buffer.from(`${xml}\0`);

export function callPacket(name: Procedure, serial: number, payload?: Uint8Array): Uint8Array {
  return packet({ procedure: procedures[name], serial }, payload);
}

export function replyPacket(name: Procedure, serial: number, payload?: Uint8Array): Uint8Array {
  return packet({ procedure: procedures[name], serial, type: messageTypes.reply }, payload);
}

/** Any packet; what is not said is that of a call of the remote program. */
export function packet(header: Partial<PacketHeader>, payload?: Uint8Array): Uint8Array {
  const call = { ...remoteProgram, procedure: 0, type: messageTypes.call, serial: 0, status: statuses.ok };
  return buildPacket({ ...call, ...header }, payload);
}

export const keepalive = (procedure: number): Uint8Array =>
  packet({ ...keepaliveProgram, procedure, type: messageTypes.message });

export const openArguments = (uri = "qemu:///system"): Uint8Array =>
  new XdrWriter().bool(true).string(uri).u32(0).bytes();

export const number = (value: number): Uint8Array => new XdrWriter().i32(value).bytes();

/** PREPARE's and, with `cancelled`, FINISH's arguments. */
export function migrationArguments({
  params = sentParams,
  cookie = cookieXmls.prepare as string | Uint8Array,
  flags = sentFlags as number,
  cancelled = undefined as number | undefined,
}): Uint8Array {
  const writer = new XdrWriter();
  writeTypedParams(writer, params);
  writer.opaque(typeof cookie === "string" ? cookieBytes(cookie) : cookie).u32(flags);
  if (cancelled !== undefined) writer.u32(cancelled);
  return writer.bytes();
}

/** FINISH's arguments as libvirtd sent them. */
export function finishArguments(changes: Parameters<typeof migrationArguments>[0] = {}): Uint8Array {
  const params = [...sentParams, param("destination_name", domain.name)];
  return migrationArguments({ params, cookie: cookieXmls.finish, cancelled: 0, ...changes });
}

export function preparedResult(cookie: string = cookieXmls.prepared, uri: string | null = null): Uint8Array {
  const writer = new XdrWriter().opaque(cookieBytes(cookie));
  return writer.optional(uri, (text) => writer.string(text)).bytes();
}

export function finishedResult({
  name = domain.name as string,
  uuid = domain.uuid as string,
  cookie = cookieXmls.finished as string,
} = {}): Uint8Array {
  return new XdrWriter()
    .string(name)
    .fixed(Buffer.from(uuid.replaceAll("-", ""), "hex"))
    .i32(2)
    .opaque(cookie === "" ? Buffer.alloc(0) : cookieBytes(cookie))
    .bytes();
}

/** An error as libvirtd writes it: with the texts of its sentence beside it. */
export function errorResult(message: string, code = 38): Uint8Array {
  const writer = new XdrWriter().i32(code).i32(10);
  writer.bool(true).string(message).i32(2);
  writer.bool(false);
  writer.bool(true).string("%s").bool(true).string(message).bool(false);
  return writer.i32(-1).i32(-1).bool(false).bytes();
}

export const errorPacket = (name: Procedure, serial: number, message: string, code?: number): Uint8Array =>
  packet(
    { procedure: procedures[name], serial, type: messageTypes.reply, status: statuses.error },
    errorResult(message, code),
  );

/** What libvirtd calls, in its order, with the serials that it counts. */
export const sourceCalls: readonly Uint8Array[] = [
  callPacket("AUTH_LIST", 0),
  callPacket("CONNECT_SUPPORTS_FEATURE", 1, number(10)),
  callPacket("CONNECT_OPEN", 2, openArguments()),
  callPacket("CONNECT_SUPPORTS_FEATURE", 3, number(14)),
  callPacket("CONNECT_SUPPORTS_FEATURE", 4, number(15)),
  callPacket("CONNECT_SUPPORTS_FEATURE", 5, number(4)),
  callPacket("CONNECT_SUPPORTS_FEATURE", 6, number(6)),
  callPacket("CONNECT_SUPPORTS_FEATURE", 7, number(13)),
  callPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", 8, migrationArguments({})),
  callPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", 9, finishArguments()),
  callPacket("CONNECT_CLOSE", 10),
];

/** What libvirtd answers to a call. */
export function answerOf({ procedure, serial }: PacketHeader): Uint8Array {
  switch (procedure) {
    case procedures.AUTH_LIST:
      return replyPacket("AUTH_LIST", serial, new XdrWriter().u32(1).i32(0).bytes());
    case procedures.CONNECT_OPEN:
      return replyPacket("CONNECT_OPEN", serial);
    case procedures.CONNECT_SUPPORTS_FEATURE:
      return replyPacket("CONNECT_SUPPORTS_FEATURE", serial, number(1));
    case procedures.DOMAIN_MIGRATE_PREPARE3_PARAMS:
      return replyPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", serial, preparedResult());
    case procedures.DOMAIN_MIGRATE_FINISH3_PARAMS:
      return replyPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", serial, finishedResult());
    default:
      return replyPacket("CONNECT_CLOSE", serial);
  }
}

/** The packets in these bytes. Throws as PacketCutter, and if the last one is not whole. */
export function packetsIn(pieces: readonly Uint8Array[]): Packet[] {
  const cutter = new PacketCutter();
  const packets = pieces.flatMap((piece) =>
    [...cutter.take(piece)].map((whole) => ({ ...whole, payload: whole.payload.slice() })),
  );
  if (cutter.heldBytes > 0) throw new Error("a packet was cut off");
  return packets;
}

/** Lets the calls through a gate, each answered by a libvirtd before the next, and gives all that followed. */
export function play<Event>(
  gate: Gate<Event>,
  calls: readonly Uint8Array[] = sourceCalls,
  answer: (call: Packet) => Uint8Array | undefined = answerOf,
): Effects<Event> {
  const all: Effects<Event> = { toServer: [], toClient: [], events: [] };
  const add = (effects: Effects<Event>): Effects<Event> => {
    all.toServer.push(...effects.toServer);
    all.toClient.push(...effects.toClient);
    all.events.push(...effects.events);
    all.refused ??= effects.refused;
    return effects;
  };
  for (const call of calls) {
    const { toServer } = add(gate.fromClient(call));
    for (const sent of packetsIn(toServer)) {
      const bytes = answer(sent);
      if (bytes !== undefined) add(gate.fromServer(bytes));
    }
  }
  return all;
}
