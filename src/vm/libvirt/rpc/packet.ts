/**
 * Packets of libvirt's RPC (src/rpc/virnetprotocol.x): a length of four bytes which counts itself, a header of six
 * words, and a payload in XDR. Cuts a stream of bytes into them without ever holding more than one. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { XdrWriter } from "./xdr.ts";

/** virNetMessageType. */
export const messageTypes = {
  call: 0,
  reply: 1,
  message: 2,
  stream: 3,
  callWithFds: 4,
  replyWithFds: 5,
  streamHole: 6,
} as const;

/** virNetMessageStatus. */
export const statuses = { ok: 0, error: 1, more: 2 } as const;

export interface PacketHeader {
  program: number;
  version: number;
  procedure: number;
  /** One of `messageTypes`, if the sender keeps to them. */
  type: number;
  /** Counted by the caller, the same in the reply, 0 in what nobody asked for. */
  serial: number;
  /** One of `statuses`, if the sender keeps to them. */
  status: number;
}

export interface Packet extends PacketHeader {
  /** What follows the header. Good until the next bytes are taken. */
  payload: Uint8Array;
}

/**
 * Longest packet in bytes that is taken. libvirt itself takes 32 MiB (VIR_NET_MESSAGE_MAX); the largest of a
 * migration has the XML of the domain in it: PREPARE, and FINISH with `--persistent`. libvirt 9.0 sends 4 KiB for a
 * domain with two disks, and some 300 bytes for each device more.
 */
export const packetBytes = 1024 * 1024;

const lengthBytes = 4;
/** The length and the six words of the header. */
export const headBytes = lengthBytes + 6 * 4;

/** Cuts a stream into packets. After a throw it is of no further use. */
export class PacketCutter {
  readonly #limitBytes: number;
  /** The beginning of a packet whose end has not come; never larger than that packet will be. */
  #held: Uint8Array = new Uint8Array(0);
  #heldBytes = 0;

  constructor(limitBytes = packetBytes) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes of a packet whose end has not come. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Takes the next bytes of the stream and gives its whole packets, one by one; each is to be read before the next
   * is asked for.
   * @throws MigrateError "protocol", before anything is stored, if a packet's length is less than its head's or more
   *   than the limit.
   */
  *take(piece: Uint8Array): Generator<Packet> {
    let rest = piece;
    while (rest.length > 0) {
      if (this.#heldBytes === 0 && rest.length >= lengthBytes) {
        const bytes = this.#lengthOf(rest);
        if (rest.length >= bytes) {
          yield readPacket(rest.subarray(0, bytes));
          rest = rest.subarray(bytes);
          continue;
        }
      }
      rest = this.#hold(rest);
      if (this.#heldBytes >= lengthBytes && this.#heldBytes === this.#lengthOf(this.#held)) {
        const whole = this.#held;
        this.#held = new Uint8Array(0);
        this.#heldBytes = 0;
        yield readPacket(whole);
      }
    }
  }

  /** Holds as much of `piece` as belongs to the packet that has begun, and gives what is left. */
  #hold(piece: Uint8Array): Uint8Array {
    // Until its length is known a packet has room for that alone.
    if (this.#heldBytes === 0) this.#held = new Uint8Array(lengthBytes);
    const taken = Math.min(this.#held.length - this.#heldBytes, piece.length);
    this.#held.set(piece.subarray(0, taken), this.#heldBytes);
    this.#heldBytes += taken;
    if (this.#heldBytes === lengthBytes && this.#held.length === lengthBytes) {
      const whole = new Uint8Array(this.#lengthOf(this.#held));
      whole.set(this.#held);
      this.#held = whole;
    }
    return piece.subarray(taken);
  }

  #lengthOf(bytes: Uint8Array): number {
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    if (length < headBytes)
      throw new MigrateError("protocol", "A message of libvirt is shorter than its head");
    if (length > this.#limitBytes)
      throw new MigrateError("protocol", `A message of libvirt has more than ${this.#limitBytes} bytes`);
    return length;
  }
}

/** A packet of which all bytes are there. */
function readPacket(bytes: Uint8Array): Packet {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (index: number) => view.getUint32(lengthBytes + 4 * index);
  return {
    program: word(0),
    version: word(1),
    procedure: word(2),
    type: word(3),
    serial: word(4),
    status: word(5),
    payload: bytes.subarray(headBytes),
  };
}

/** The bytes of a packet. */
export function buildPacket(header: PacketHeader, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  return new XdrWriter()
    .u32(headBytes + payload.length)
    .u32(header.program)
    .u32(header.version)
    .u32(header.procedure)
    .u32(header.type)
    .u32(header.serial)
    .u32(header.status)
    .fixed(payload)
    .bytes();
}
