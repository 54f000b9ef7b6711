/**
 * The two calls that a migration is made of, PREPARE3_PARAMS and FINISH3_PARAMS, read and written: their arguments
 * and results (src/remote/remote_protocol.x), the parameters and flags of a migration (VIR_MIGRATE_PARAM_*,
 * VIR_MIGRATE_* of include/libvirt/libvirt-domain.h). What is read is sorted into what a gate may replace or leave
 * out and what it cannot: a parameter or flag by which the stream itself would change is refused by name. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { printable } from "../../../protocol/printable.ts";
import { readTypedParams, type TypedParam, writeTypedParams } from "./typed-params.ts";
import { XdrReader, XdrWriter } from "./xdr.ts";

/** VIR_MIGRATE_*, those that a gate knows by name. */
export const migrateFlags = {
  LIVE: 1 << 0,
  PEER2PEER: 1 << 1,
  TUNNELLED: 1 << 2,
  PERSIST_DEST: 1 << 3,
  UNDEFINE_SOURCE: 1 << 4,
  PAUSED: 1 << 5,
  NON_SHARED_DISK: 1 << 6,
  NON_SHARED_INC: 1 << 7,
  CHANGE_PROTECTION: 1 << 8,
  UNSAFE: 1 << 9,
  OFFLINE: 1 << 10,
  COMPRESSED: 1 << 11,
  ABORT_ON_ERROR: 1 << 12,
  AUTO_CONVERGE: 1 << 13,
  RDMA_PIN_ALL: 1 << 14,
  POSTCOPY: 1 << 15,
  TLS: 1 << 16,
  PARALLEL: 1 << 17,
  NON_SHARED_SYNCHRONOUS_WRITES: 1 << 18,
  POSTCOPY_RESUME: 1 << 19,
  ZEROCOPY: 1 << 20,
} as const;

type MigrateFlag = keyof typeof migrateFlags;

/** The destination would have to do something else than to load one plain stream of RAM, and mirrors of disks. */
const refusedFlags: readonly MigrateFlag[] = [
  "TUNNELLED",
  "NON_SHARED_INC",
  "OFFLINE",
  "COMPRESSED",
  "RDMA_PIN_ALL",
  "POSTCOPY",
  "TLS",
  "PARALLEL",
  "POSTCOPY_RESUME",
  "ZEROCOPY",
];
/** What the source does by itself, or what is to be done at the destination and is ours to do: left out. */
const leftOutFlags: readonly MigrateFlag[] = [
  "PERSIST_DEST",
  "UNDEFINE_SOURCE",
  "CHANGE_PROTECTION",
  "UNSAFE",
  "ABORT_ON_ERROR",
  "AUTO_CONVERGE",
  "NON_SHARED_SYNCHRONOUS_WRITES",
];
const ownFlags: readonly MigrateFlag[] = ["LIVE", "PEER2PEER", "PAUSED", "NON_SHARED_DISK"];

const knownFlags = [...refusedFlags, ...leftOutFlags, ...ownFlags].reduce(
  (all, name) => all | migrateFlags[name],
  0,
);

/** Parameters that a call may have: what is read of them, or that they are left out. */
const paramTypes: Readonly<Record<string, TypedParam["type"]>> = {
  migrate_uri: "string",
  destination_name: "string",
  destination_xml: "string",
  disks_uri: "string",
  migrate_disks: "string",
  // How the source mirrors, and how fast; the destination does nothing with them.
  migrate_disks_detect_zeroes: "string",
  bandwidth: "ullong",
  "bandwidth.avail.switchover": "ullong",
  "auto_converge.initial": "int",
  "auto_converge.increment": "int",
  // What the source defines and tells its viewers.
  persistent_xml: "string",
  graphics_uri: "string",
};
const repeatable: ReadonlySet<string> = new Set(["migrate_disks", "migrate_disks_detect_zeroes"]);

export const callLimits = {
  /** A text among the parameters; the XML of a domain is the longest. */
  textBytes: 768 * 1024,
  uriBytes: 4096,
  nameBytes: 1024,
  cookieBytes: 256 * 1024,
} as const;

/** What PREPARE and FINISH have in common. */
export interface MigrationCall {
  /** Name that the domain is to have at the destination, if it is said. */
  destinationName: string | null;
  migrateUri: string | null;
  /** Targets of the disks that the source wants to mirror. */
  disks: string[];
  cookie: Uint8Array;
}

export interface FinishCall extends MigrationCall {
  /** The migration did not come to its end: the destination is to stop the domain. */
  cancelled: boolean;
}

/** Reads the arguments of PREPARE3_PARAMS. @throws MigrateError "protocol", or "policy" for what is refused by name. */
export function readPrepare(payload: Uint8Array): MigrationCall {
  const reader = new XdrReader(payload);
  const call = readCall(reader);
  reader.end();
  return call;
}

/** Reads the arguments of FINISH3_PARAMS. Throws as readPrepare. */
export function readFinish(payload: Uint8Array): FinishCall {
  const reader = new XdrReader(payload);
  const call = readCall(reader);
  const cancelled = reader.bool();
  reader.end();
  return { ...call, cancelled };
}

function readCall(reader: XdrReader): MigrationCall {
  const params = readTypedParams(reader, callLimits.textBytes);
  const cookie = reader.opaque(callLimits.cookieBytes);
  checkFlags(reader.u32());
  checkParams(params);
  const texts = (field: string, limit: number): string[] =>
    params.flatMap((param) => {
      if (param.field !== field || param.type !== "string") return [];
      if (Buffer.byteLength(param.value) > limit)
        throw new MigrateError("protocol", `The parameter ${field} of a migration is too long`);
      return [param.value];
    });
  return {
    destinationName: texts("destination_name", callLimits.nameBytes)[0] ?? null,
    migrateUri: texts("migrate_uri", callLimits.uriBytes)[0] ?? null,
    disks: texts("migrate_disks", callLimits.nameBytes),
    cookie,
  };
}

function checkFlags(flags: number): void {
  const refused = refusedFlags.find((name) => (flags & migrateFlags[name]) !== 0);
  if (refused !== undefined)
    throw new MigrateError("policy", `A migration with libvirt's flag ${refused} is not carried`);
  const unknown = (flags & ~knownFlags) >>> 0;
  if (unknown !== 0)
    throw new MigrateError("policy", `The flags 0x${unknown.toString(16)} of a migration are not known`);
}

function checkParams(params: readonly TypedParam[]): void {
  const seen = new Set<string>();
  for (const { field, type } of params) {
    const expected = Object.hasOwn(paramTypes, field) ? paramTypes[field] : undefined;
    if (expected === undefined)
      throw new MigrateError(
        "policy",
        `A migration with libvirt's parameter ${printable(field)} is not carried`,
      );
    if (type !== expected)
      throw new MigrateError("protocol", `The parameter ${field} of a migration is no ${expected}`);
    if (seen.has(field) && !repeatable.has(field))
      throw new MigrateError("protocol", `The parameter ${field} of a migration came twice`);
    seen.add(field);
  }
}

/** The flags of a migration as this program wants it: whatever the source said, the domain stays paused. */
export function flagsFor(disks: readonly string[]): number {
  const { LIVE, PEER2PEER, PAUSED, NON_SHARED_DISK } = migrateFlags;
  return LIVE | PEER2PEER | PAUSED | (disks.length > 0 ? NON_SHARED_DISK : 0);
}

/** The arguments of PREPARE3_PARAMS. */
export function writePrepare(params: readonly TypedParam[], cookie: Uint8Array, flags: number): Uint8Array {
  const writer = new XdrWriter();
  writeTypedParams(writer, params);
  return writer.opaque(cookie).u32(flags).bytes();
}

/** The arguments of FINISH3_PARAMS. */
export function writeFinish(
  params: readonly TypedParam[],
  cookie: Uint8Array,
  flags: number,
  cancelled: boolean,
): Uint8Array {
  const writer = new XdrWriter();
  writeTypedParams(writer, params);
  return writer.opaque(cookie).u32(flags).bool(cancelled).bytes();
}

export function text(field: string, value: string): TypedParam {
  return { field, type: "string", value };
}

export interface Prepared {
  cookie: Uint8Array;
  /** Where the source is to migrate to, if that is another URI than it asked with. */
  uri: string | null;
}

/** Reads the result of PREPARE3_PARAMS. @throws MigrateError "protocol" if it is none. */
export function readPrepared(payload: Uint8Array): Prepared {
  const reader = new XdrReader(payload);
  const cookie = reader.opaque(callLimits.cookieBytes);
  const uri = reader.optional(() => reader.string(callLimits.uriBytes));
  reader.end();
  return { cookie, uri };
}

export function writePrepared({ cookie, uri }: Prepared): Uint8Array {
  const writer = new XdrWriter().opaque(cookie);
  return writer.optional(uri, (value) => writer.string(value)).bytes();
}

/** A domain as libvirt names it. */
export interface RemoteDomain {
  name: string;
  /** Lower case, with hyphens. */
  uuid: string;
  /** Counted by each libvirtd; -1 if it does not run. */
  id: number;
}

export interface Finished {
  domain: RemoteDomain;
  cookie: Uint8Array;
}

/** Reads the result of FINISH3_PARAMS. @throws MigrateError "protocol" if it is none. */
export function readFinished(payload: Uint8Array): Finished {
  const reader = new XdrReader(payload);
  const name = reader.string(callLimits.nameBytes);
  const hex = Buffer.from(reader.fixed(16)).toString("hex");
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  const id = reader.i32();
  const cookie = reader.opaque(callLimits.cookieBytes);
  reader.end();
  return { domain: { name, uuid, id }, cookie };
}

export function writeFinished({ domain, cookie }: Finished): Uint8Array {
  return new XdrWriter()
    .string(domain.name)
    .fixed(Buffer.from(domain.uuid.replaceAll("-", ""), "hex"))
    .i32(domain.id)
    .opaque(cookie)
    .bytes();
}
