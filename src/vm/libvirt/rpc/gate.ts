/**
 * What the gates of both ends have in common. They stand between a libvirtd that calls (the client, at the source)
 * and one that answers (the server, at the destination), and are told what each sends. Calls that say nothing about
 * the migration are answered by the gate; the others are made anew by what each end knows. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { type Call, Conversation, callHead, resultHead } from "./conversation.ts";
import { answerKeepalive, isKeepalive } from "./keepalive.ts";
import {
  buildPacket,
  messageTypes,
  type Packet,
  PacketCutter,
  type PacketHeader,
  packetBytes,
  statuses,
} from "./packet.ts";
import {
  readAuthentication,
  readFeature,
  readNothing,
  readOpen,
  writeAuthentication,
  writeFeature,
  writeOpen,
} from "./plain-calls.ts";
import { features, procedures, remoteProgram } from "./procedures.ts";
import { errorReply, ownError } from "./remote-error.ts";

/** What follows from bytes that came: first what is sent, then what is told. */
export interface Effects<Event> {
  /** Packets for the libvirtd that answers. */
  toServer: Uint8Array[];
  /** Packets for the libvirtd that calls. */
  toClient: Uint8Array[];
  events: Event[];
  /**
   * Why the gate is closed from now on: MigrateError "protocol" for what libvirt would not say, "policy" for what it
   * may not say here, "limit" for too much, "network" if the server's connection has ended. What stands in `toClient`
   * is to be sent, and CONNECT_CLOSE, if it comes, is still answered, before both connections end.
   */
  refused?: MigrateError | undefined;
}

/**
 * How the client's connection ends once the server's has, or was ended: at once, which a libvirtd looks for while it
 * migrates; soon, if it has nothing more to say than CONNECT_CLOSE, which is answered here (a libvirtd that cannot
 * take its leave forgets why it was refused, and reports that instead); or in its own time.
 */
export type Parting = "at-once" | "soon" | "own-time";

/** Features that the destination's libvirtd is asked for; of the others the gate carries none, and says so. */
const forwardedFeatures: readonly number[] = [
  features.MIGRATION_P2P,
  features.MIGRATION_V3,
  features.MIGRATION_PARAMS,
];

export interface GateLimits {
  /** Longest packet that is taken, 1 MiB if left out. */
  packetBytes?: number;
}

export abstract class Gate<Event> {
  protected readonly conversation = new Conversation();
  readonly #client: PacketCutter;
  readonly #server: PacketCutter;
  readonly #uri: string;
  #refused: MigrateError | undefined;
  /** Whether nothing of the client's can be read any more. */
  #torn = false;
  /** Why nothing of the server's is taken any more, although the client may go on. */
  #deaf: MigrateError | undefined;

  /** @param uri what CONNECT_OPEN opens, whatever the client says. */
  constructor(uri: string, limits: GateLimits = {}) {
    this.#uri = uri;
    this.#client = new PacketCutter(limits.packetBytes ?? packetBytes);
    this.#server = new PacketCutter(limits.packetBytes ?? packetBytes);
  }

  /** Why it is closed, if it is. */
  get refused(): MigrateError | undefined {
    return this.#refused;
  }

  /** How the client's connection ends once the server's has. */
  get parting(): Parting {
    const closes = this.#refused !== undefined || this.conversation.stage === "over";
    return closes ? "soon" : "at-once";
  }

  /** Takes what the libvirtd that calls has sent, cut anywhere. Never throws for what it holds. */
  fromClient(bytes: Uint8Array): Effects<Event> {
    const effects = this.#effects(this.#refused);
    if (this.#torn) return effects;
    try {
      for (const packet of this.#client.take(bytes)) {
        try {
          if (this.#refused === undefined) this.#fromClient(packet, effects);
          else this.#leave(packet, effects);
        } catch (thrown) {
          this.#refuse(thrown, packet, effects);
        }
      }
    } catch (thrown) {
      // Where the next packet would begin is not known any more.
      this.#torn = true;
      this.#refuse(thrown, undefined, effects);
    }
    return effects;
  }

  /**
   * Takes what the libvirtd that answers has sent, cut anywhere. Never throws for what it holds. If it is refused
   * while the client may part in its own time, the server's connection alone is to end.
   */
  fromServer(bytes: Uint8Array): Effects<Event> {
    const refused = this.#refused ?? this.#deaf;
    const effects = this.#effects(refused);
    if (refused !== undefined) return effects;
    try {
      for (const packet of this.#server.take(bytes)) {
        if (isKeepalive(packet)) effects.toServer.push(...answerKeepalive(packet));
        else this.#fromServer(packet, effects);
      }
    } catch (thrown) {
      if (this.parting === "own-time" && thrown instanceof MigrateError) {
        this.#deaf = thrown;
        effects.refused = thrown;
      }
      // What cannot be passed on is the answer that the client waits for.
      else this.#refuse(thrown, this.conversation.waiting, effects);
    }
    return effects;
  }

  /**
   * That the server's connection has ended. A client that waits for an answer is told so; one that does not sees it
   * by the end of its own connection.
   */
  serverEnded(): Effects<Event> {
    const effects = this.#effects(this.#refused);
    const { waiting } = this.conversation;
    if (this.#refused !== undefined || this.parting === "own-time" || waiting === undefined) return effects;
    this.#refuse(new MigrateError("network", "The connection to libvirt has ended"), waiting, effects);
    return effects;
  }

  /** The arguments of PREPARE3_PARAMS for the server. */
  protected abstract prepare(packet: Packet, effects: Effects<Event>): Uint8Array;

  /** The arguments of FINISH3_PARAMS for the server. */
  protected abstract finish(packet: Packet, effects: Effects<Event>): Uint8Array;

  /** Sends what answers CONNECT_CLOSE, or asks for it. */
  protected abstract close(call: Call, effects: Effects<Event>): void;

  /** The result of PREPARE3_PARAMS for the client. */
  protected abstract prepared(packet: Packet, effects: Effects<Event>): Uint8Array;

  /** The result of FINISH3_PARAMS for the client; undefined if it is held. */
  protected abstract finished(packet: Packet, effects: Effects<Event>): Uint8Array | undefined;

  /** The packet for the client where the server has answered with an error. */
  protected abstract failed(call: Call, packet: Packet, effects: Effects<Event>): Uint8Array;

  /** What the server says without having been asked, keepalives aside. Throws if that may not be. */
  protected abstract unasked(packet: Packet): void;

  /** Sends a call on. */
  protected forward(call: Call, payload: Uint8Array | undefined, effects: Effects<Event>): void {
    effects.toServer.push(buildPacket(callHead(call), payload));
  }

  /** Answers a call with a result. */
  protected answer(call: Call, payload: Uint8Array | undefined, effects: Effects<Event>): void {
    effects.toClient.push(buildPacket(resultHead(call), payload));
    this.conversation.answered(true);
  }

  #effects(refused: MigrateError | undefined): Effects<Event> {
    return { toServer: [], toClient: [], events: [], refused };
  }

  /** What a client gets for what it says after it was refused: its leave, and an answer to PING. */
  #leave(packet: Packet, effects: Effects<Event>): void {
    const { program, procedure, type } = packet;
    if (isKeepalive(packet)) effects.toClient.push(...answerKeepalive(packet));
    const closes = program === remoteProgram.program && procedure === procedures.CONNECT_CLOSE;
    if (closes && type === messageTypes.call)
      effects.toClient.push(buildPacket({ ...packet, type: messageTypes.reply, status: statuses.ok }));
  }

  /** Closes the gate, and tells the client why if it waits for an answer. */
  #refuse(thrown: unknown, cause: PacketHeader | undefined, effects: Effects<Event>): void {
    if (!(thrown instanceof MigrateError)) throw thrown;
    this.#refused ??= thrown;
    effects.refused = this.#refused;
    if (cause?.type === messageTypes.call) effects.toClient.push(errorReply(cause, ownError(thrown.message)));
  }

  #fromClient(packet: Packet, effects: Effects<Event>): void {
    if (isKeepalive(packet)) {
      effects.toClient.push(...answerKeepalive(packet));
      return;
    }
    const call = this.conversation.call(packet);
    switch (call.name) {
      case "AUTH_LIST":
        readNothing(packet);
        this.forward(call, undefined, effects);
        return;
      case "CONNECT_OPEN":
        readOpen(packet);
        this.forward(call, writeOpen(this.#uri), effects);
        return;
      case "CONNECT_SUPPORTS_FEATURE": {
        const feature = readFeature(packet);
        if (!forwardedFeatures.includes(feature))
          this.answer(call, writeFeature(feature === features.PROGRAM_KEEPALIVE ? 1 : 0), effects);
        else if (this.conversation.stage === "fresh")
          throw new MigrateError("protocol", "A feature of a migration was asked for before CONNECT_OPEN");
        else this.forward(call, writeFeature(feature), effects);
        return;
      }
      case "CONNECT_REGISTER_CLOSE_CALLBACK":
      case "CONNECT_UNREGISTER_CLOSE_CALLBACK":
        readNothing(packet);
        this.answer(call, undefined, effects);
        return;
      case "CONNECT_CLOSE":
        readNothing(packet);
        this.close(call, effects);
        return;
      case "DOMAIN_MIGRATE_PREPARE3_PARAMS":
        this.forward(call, this.prepare(packet, effects), effects);
        return;
      case "DOMAIN_MIGRATE_FINISH3_PARAMS":
        this.forward(call, this.finish(packet, effects), effects);
        return;
    }
  }

  #fromServer(packet: Packet, effects: Effects<Event>): void {
    if (packet.type === messageTypes.message) {
      this.unasked(packet);
      return;
    }
    if (this.parting === "own-time")
      throw new MigrateError("protocol", "More came after the answer to FINISH");
    const { call, succeeded } = this.conversation.reply(packet);
    if (!succeeded) {
      effects.toClient.push(this.failed(call, packet, effects));
      this.conversation.answered(false);
      return;
    }
    const payload = this.#result(call, packet, effects);
    if (payload !== undefined) this.answer(call, payload, effects);
  }

  #result({ name }: Call, packet: Packet, effects: Effects<Event>): Uint8Array | undefined {
    switch (name) {
      case "AUTH_LIST":
        readAuthentication(packet);
        return writeAuthentication();
      case "CONNECT_SUPPORTS_FEATURE":
        return writeFeature(readFeature(packet) === 0 ? 0 : 1);
      case "DOMAIN_MIGRATE_PREPARE3_PARAMS":
        return this.prepared(packet, effects);
      case "DOMAIN_MIGRATE_FINISH3_PARAMS":
        return this.finished(packet, effects);
      default:
        readNothing(packet);
        return new Uint8Array(0);
    }
  }
}
