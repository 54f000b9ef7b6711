/**
 * What libvirt answers instead of a result: remote_error of src/remote/remote_protocol.x. A gate reads it for its
 * sentence and its two numbers, and writes one of its own: nothing else of it is passed on. Pure.
 */
import { printable } from "../../../protocol/printable.ts";
import { buildPacket, messageTypes, type PacketHeader, statuses } from "./packet.ts";
import { XdrReader, XdrWriter } from "./xdr.ts";

export interface RemoteError {
  /** virErrorNumber of include/libvirt/virterror.h: 9 is VIR_ERR_OPERATION_FAILED. */
  code: number;
  /** virErrorDomain: which part of libvirt says so; 7 is VIR_FROM_RPC. */
  domain: number;
  /** Printable, of at most 1024 characters. */
  message: string;
}

const operationFailed = 9;
const fromRpc = 7;
/** VIR_ERR_ERROR. */
const levelError = 2;
/** What FINISH answers to a migration that was cancelled: VIR_ERR_MIGRATE_FINISH_OK. */
export const migrateFinishOk = 93;

/** Both enumerations have about a hundred members. */
const mostCode = 255;
const messageCharacters = 1024;
const textBytes = 64 * 1024;

/** Reads an error. @throws MigrateError "protocol" if it is none. */
export function readRemoteError(payload: Uint8Array): RemoteError {
  const reader = new XdrReader(payload);
  const code = reader.i32();
  const domain = reader.i32();
  const text = () => reader.optional(() => reader.message(textBytes));
  const named = () => {
    reader.message(textBytes);
    reader.fixed(16);
  };
  const message = text() ?? "";
  reader.i32();
  reader.optional(() => {
    named();
    reader.i32();
  });
  text();
  text();
  text();
  reader.i32();
  reader.i32();
  reader.optional(named);
  reader.end();
  const known = (value: number) => value > 0 && value <= mostCode;
  return {
    code: known(code) ? code : operationFailed,
    domain: known(domain) ? domain : fromRpc,
    message: bounded(message),
  };
}

/** An error of ours with this sentence. */
export function ownError(message: string): RemoteError {
  return { code: operationFailed, domain: fromRpc, message: bounded(message) };
}

/**
 * A sentence without what looks like a path of this host: a peer is told none. libvirt names files in its errors.
 */
export function withoutPaths(message: string): string {
  return message.replace(/(?<![\w.])\/[^\s'"`,;:)]*[^\s'"`,;:).]/g, "(path)");
}

function bounded(message: string): string {
  const text = printable(message.slice(0, messageCharacters));
  return text === "" ? "no reason was given" : text;
}

/** The packet that answers `call` with an error. */
export function errorReply(call: PacketHeader, { code, domain, message }: RemoteError): Uint8Array {
  const writer = new XdrWriter();
  const nothing = () => writer.bool(false);
  writer.i32(code).i32(domain);
  writer.bool(true).string(message);
  writer.i32(levelError);
  // The domain and three texts; two numbers; the network.
  for (let field = 0; field < 4; field += 1) nothing();
  writer.i32(-1).i32(-1);
  nothing();
  return buildPacket({ ...call, type: messageTypes.reply, status: statuses.error }, writer.bytes());
}
