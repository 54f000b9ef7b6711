/**
 * libvirt's keepalive (src/rpc/virkeepalive.c): an end that heard nothing for some seconds sends PING and wants any
 * answer, PONG for instance. Each gate answers both its neighbours itself and hands nothing on: what lies between
 * the gates is watched, and replayed after a cut, by streams of our own, and may be silent for longer than
 * libvirt would wait. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { buildPacket, messageTypes, type Packet, statuses } from "./packet.ts";
import { keepaliveProcedures, keepaliveProgram } from "./procedures.ts";

const pong = {
  ...keepaliveProgram,
  procedure: keepaliveProcedures.pong,
  type: messageTypes.message,
  serial: 0,
  status: statuses.ok,
};

export function isKeepalive({ program }: Packet): boolean {
  return program === keepaliveProgram.program;
}

/**
 * What goes back to whoever sent this packet of the keepalive program; nothing for PONG.
 * @throws MigrateError "protocol" if it is neither PING nor PONG.
 */
export function answerKeepalive(packet: Packet): Uint8Array[] {
  const { version, procedure, type, serial, status, payload } = packet;
  const known =
    version === keepaliveProgram.version &&
    type === messageTypes.message &&
    serial === 0 &&
    status === statuses.ok &&
    payload.length === 0;
  if (known && procedure === keepaliveProcedures.ping) return [buildPacket(pong)];
  if (known && procedure === keepaliveProcedures.pong) return [];
  throw new MigrateError("protocol", "A keepalive of libvirt is neither PING nor PONG");
}
