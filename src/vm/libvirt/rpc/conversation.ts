/**
 * The order in which a libvirtd that migrates peer to peer speaks (qemuMigrationSrcPerformPeer2Peer and …Peer3 of
 * src/qemu/qemu_migration.c): one call after the other, each after the answer to the one before it; open, ask,
 * prepare once, finish once, close. Both gates hold what comes against it. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { messageTypes, type Packet, type PacketHeader, statuses } from "./packet.ts";
import { type Procedure, procedureOf, procedures, remoteProgram } from "./procedures.ts";

/**
 * How far it has come: `fresh` until CONNECT_OPEN is answered, `open` until PREPARE is, `prepared` until FINISH is;
 * `over` after that, or after one of these has failed: what is left is to close. After `closed` nothing comes.
 */
export type Stage = "fresh" | "open" | "prepared" | "over" | "closed";

/** In which stages a procedure may be called. */
const stagesOf: Readonly<Record<Procedure, readonly Stage[]>> = {
  AUTH_LIST: ["fresh"],
  CONNECT_OPEN: ["fresh"],
  CONNECT_SUPPORTS_FEATURE: ["fresh", "open", "prepared", "over"],
  CONNECT_REGISTER_CLOSE_CALLBACK: ["open"],
  CONNECT_UNREGISTER_CLOSE_CALLBACK: ["open", "prepared", "over"],
  DOMAIN_MIGRATE_PREPARE3_PARAMS: ["open"],
  DOMAIN_MIGRATE_FINISH3_PARAMS: ["prepared"],
  CONNECT_CLOSE: ["open", "prepared", "over"],
};

/** How often a procedure may be called; libvirt 9.0 asks for six features, 11.3 for as many. */
const mostCalls: Readonly<Partial<Record<Procedure, number>>> = { CONNECT_SUPPORTS_FEATURE: 32 };

export interface Call extends PacketHeader {
  name: Procedure;
}

export class Conversation {
  #stage: Stage = "fresh";
  #serial = -1;
  #waiting: Call | undefined;
  readonly #calls = new Map<Procedure, number>();

  get stage(): Stage {
    return this.#stage;
  }

  /** The call that has no answer yet. */
  get waiting(): Call | undefined {
    return this.#waiting;
  }

  /**
   * A packet of the caller's as the call that it is.
   * @throws MigrateError "policy" for a procedure that no migration needs, "protocol" for what is no call or comes
   *   out of order, "limit" for a call that comes too often.
   */
  call(packet: Packet): Call {
    const { program, version, procedure, type, serial, status } = packet;
    if (program !== remoteProgram.program)
      throw policy(`A migration does not speak libvirt's program 0x${program.toString(16)}`);
    if (version !== remoteProgram.version)
      throw protocol(`Version ${version} of libvirt's remote program is not known`);
    if (type !== messageTypes.call)
      throw protocol(`A message of the type ${type} came where libvirt sends calls alone`);
    if (status !== statuses.ok) throw protocol("A call of libvirt has a status that is none of a call");
    const name = procedureOf(procedure);
    if (name === undefined) throw policy(`A migration does not need libvirt's procedure ${procedure}`);
    if (this.#waiting !== undefined)
      throw protocol(`${name} came before the answer to ${this.#waiting.name}`);
    if (serial <= this.#serial) throw protocol(`${name} has a serial that was used before`);
    if (!stagesOf[name].includes(this.#stage)) throw protocol(`${name} came out of order`);
    const calls = (this.#calls.get(name) ?? 0) + 1;
    if (calls > (mostCalls[name] ?? 1)) throw new MigrateError("limit", `${name} came too often`);
    this.#calls.set(name, calls);
    this.#serial = serial;
    this.#waiting = { name, program, version, procedure, type, serial, status };
    return this.#waiting;
  }

  /**
   * The call that a packet of the answerer's is the reply to, and whether it is a result rather than an error.
   * @throws MigrateError "protocol" if nobody asked for it.
   */
  reply(packet: Packet): { call: Call; succeeded: boolean } {
    const call = this.#waiting;
    const { program, version, procedure, type, serial, status } = packet;
    const fits =
      call !== undefined &&
      program === call.program &&
      version === call.version &&
      procedure === call.procedure &&
      type === messageTypes.reply &&
      serial === call.serial;
    if (!fits) throw protocol("An answer of libvirt came that nobody asked for");
    if (status !== statuses.ok && status !== statuses.error)
      throw protocol(`The answer to ${call.name} is neither a result nor an error`);
    return { call, succeeded: status === statuses.ok };
  }

  /** That the call which waits has been answered, so that the next may come. */
  answered(succeeded: boolean): void {
    const name = this.#waiting?.name;
    this.#waiting = undefined;
    if (name === "CONNECT_OPEN") this.#stage = succeeded ? "open" : "over";
    else if (name === "DOMAIN_MIGRATE_PREPARE3_PARAMS") this.#stage = succeeded ? "prepared" : "over";
    else if (name === "DOMAIN_MIGRATE_FINISH3_PARAMS") this.#stage = "over";
    else if (name === "CONNECT_CLOSE") this.#stage = "closed";
  }
}

/** The head of the packet with a result for `call`. */
export function resultHead(call: Call): PacketHeader {
  return { ...call, type: messageTypes.reply, status: statuses.ok };
}

/** The head of a call that a gate sends on. */
export function callHead({ name, serial }: Call): PacketHeader {
  return {
    ...remoteProgram,
    procedure: procedures[name],
    type: messageTypes.call,
    serial,
    status: statuses.ok,
  };
}

function protocol(sentence: string): MigrateError {
  return new MigrateError("protocol", sentence);
}

function policy(sentence: string): MigrateError {
  return new MigrateError("policy", sentence);
}
