/**
 * The calls of a migrating libvirtd that carry a word or a number, or nothing (src/remote/remote_protocol.x). Each
 * function throws MigrateError "protocol" for a payload that is none of its call's. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { callLimits } from "./migration-call.ts";
import type { Packet } from "./packet.ts";
import { authNone } from "./procedures.ts";
import { XdrReader, XdrWriter } from "./xdr.ts";

/** Most authentications that an answer to AUTH_LIST names: REMOTE_AUTH_TYPE_LIST_MAX. */
const mostAuthentications = 20;

/** That a packet has no arguments, or no result. */
export function readNothing({ payload }: Packet): void {
  new XdrReader(payload).end();
}

/** Reads the arguments of CONNECT_OPEN; what is opened is not the caller's to say. */
export function readOpen({ payload }: Packet): void {
  const reader = new XdrReader(payload);
  reader.optional(() => reader.string(callLimits.uriBytes));
  const flags = reader.u32();
  reader.end();
  if (flags !== 0)
    throw new MigrateError("protocol", "CONNECT_OPEN has flags that a migration does not have");
}

export function writeOpen(uri: string): Uint8Array {
  const writer = new XdrWriter();
  return writer
    .optional(uri, (name) => writer.string(name))
    .u32(0)
    .bytes();
}

/** The one number of CONNECT_SUPPORTS_FEATURE: in the question a feature, in the answer 0 for no. */
export function readFeature({ payload }: Packet): number {
  const reader = new XdrReader(payload);
  const value = reader.i32();
  reader.end();
  return value;
}

export function writeFeature(value: number): Uint8Array {
  return new XdrWriter().i32(value).bytes();
}

/**
 * That AUTH_LIST is answered with "none", as libvirtd does to root on its unix socket.
 * @throws MigrateError "policy" if it wants another: a gate carries no passwords.
 */
export function readAuthentication({ payload }: Packet): void {
  const reader = new XdrReader(payload);
  const kinds = reader.array(mostAuthentications, () => reader.i32());
  reader.end();
  if (kinds.length !== 1 || kinds[0] !== authNone)
    throw new MigrateError("policy", "libvirt of the destination wants an authentication", {
      hint: "Run migrate serve as root, or set auth_unix_rw to none in libvirtd.conf there.",
    });
}

/** The answer "none" to AUTH_LIST. */
export function writeAuthentication(): Uint8Array {
  const writer = new XdrWriter();
  return writer.array([authNone], (kind) => writer.i32(kind)).bytes();
}
