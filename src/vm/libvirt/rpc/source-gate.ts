/**
 * The gate at the source, between its own libvirtd and the stream to the destination. It sends as little as a
 * destination needs: no definition, no path of this host. Of the answers, which come from a host that is not
 * trusted, it passes on what a migration needs; and the last of them, after which libvirtd ends the domain
 * here, it holds until somebody has decided whose the domain is. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Call } from "./conversation.ts";
import { rebuildCookie } from "./cookie.ts";
import { type Effects, Gate, type GateLimits, type Parting } from "./gate.ts";
import {
  flagsFor,
  readFinish,
  readFinished,
  readPrepare,
  readPrepared,
  text,
  writeFinish,
  writeFinished,
  writePrepare,
  writePrepared,
} from "./migration-call.ts";
import type { Packet } from "./packet.ts";
import { errorReply, ownError, readRemoteError } from "./remote-error.ts";

export interface SourceGateOptions {
  /** The domain that leaves. */
  name: string;
  /** Lower case, with hyphens. */
  uuid: string;
  /** Targets of the disks that are mirrored ("vda"); none if there is nothing to mirror. */
  disks: readonly string[];
  /** What libvirtd is told to migrate to (`--migrateuri`); the destination may name no other place. */
  migrateUri: string;
  limits?: GateLimits;
}

export type SourceEvent =
  /** The destination's domain waits for its RAM. */
  | { kind: "prepared" }
  /** libvirtd says that the RAM is over and asks whether the domain is there; or that it has given up. */
  | { kind: "finishing"; cancelled: boolean }
  /** The destination says that the domain is there, paused. The answer is held: `release` or `refuse` it. */
  | { kind: "finish-answered" }
  /** The destination answered with an error; after FINISH libvirtd lets the domain go on here. */
  | { kind: "failed"; procedure: string; message: string }
  /** libvirtd has taken its leave; it has done by then what the answer to FINISH told it. */
  | { kind: "closed" };

type SourceEffects = Effects<SourceEvent>;

export class SourceGate extends Gate<SourceEvent> {
  readonly #options: SourceGateOptions;
  #cancelled = false;
  /** The result of FINISH that is held. */
  #held: Uint8Array | undefined;
  #isReleased = false;

  constructor(options: SourceGateOptions) {
    super("qemu:///system", options.limits);
    this.#options = options;
  }

  /** Whether libvirtd was given the answer to FINISH. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** Whether the answer to FINISH has come and is neither released nor refused. */
  get holding(): boolean {
    return this.#held !== undefined;
  }

  /**
   * While the answer is held, libvirtd would take the end of its connection for an error, and let the domain go on.
   * After that it ends its domain or resumes it, and only then takes its leave.
   */
  override get parting(): Parting {
    return this.holding || this.conversation.stage === "over" ? "own-time" : super.parting;
  }

  /**
   * Lets libvirtd have the answer: it ends the domain here.
   * @throws MigrateError "bug" if none is held.
   */
  release(): SourceEffects {
    const effects: SourceEffects = { toServer: [], toClient: [], events: [] };
    const { call, held } = this.#take();
    this.#isReleased = true;
    this.answer(call, held, effects);
    return effects;
  }

  /**
   * Answers libvirtd with an error that has this sentence instead: it lets the domain go on here.
   * @throws MigrateError "bug" if no answer is held.
   */
  refuse(reason: string): SourceEffects {
    const { call } = this.#take();
    this.conversation.answered(false);
    return { toServer: [], toClient: [errorReply(call, ownError(reason))], events: [] };
  }

  #take(): { call: Call; held: Uint8Array } {
    const call = this.conversation.waiting;
    const held = this.#held;
    if (held === undefined || call === undefined)
      throw new MigrateError("bug", "No answer to FINISH is held");
    this.#held = undefined;
    return { call, held };
  }

  protected prepare({ payload }: Packet): Uint8Array {
    const { name, disks } = this.#options;
    const { destinationName, cookie } = readPrepare(payload);
    this.#checkName(destinationName);
    const rebuilt = rebuildCookie(cookie, "prepare", this.#options);
    return writePrepare([text("destination_name", name)], rebuilt, flagsFor(disks));
  }

  protected finish({ payload }: Packet, { events }: SourceEffects): Uint8Array {
    const { name, disks } = this.#options;
    const { destinationName, cookie, cancelled } = readFinish(payload);
    this.#checkName(destinationName);
    this.#cancelled = cancelled;
    events.push({ kind: "finishing", cancelled });
    // Who ends its domain needs to know nothing; and of one whose QEMU has died libvirtd has nothing to say.
    const rebuilt =
      cancelled || cookie.length === 0 ? new Uint8Array() : rebuildCookie(cookie, "finish", this.#options);
    return writeFinish([text("destination_name", name)], rebuilt, flagsFor(disks), cancelled);
  }

  /** Answered here, so that a link that is gone by then keeps nobody waiting; the destination sees the end. */
  protected close(call: Call, effects: SourceEffects): void {
    this.answer(call, undefined, effects);
    effects.events.push({ kind: "closed" });
  }

  protected prepared({ payload }: Packet, { events }: SourceEffects): Uint8Array {
    const { cookie, uri } = readPrepared(payload);
    if (uri !== null && uri !== this.#options.migrateUri)
      throw new MigrateError(
        "protocol",
        "The destination wants the domain at another place than was agreed on",
      );
    const rebuilt = rebuildCookie(cookie, "prepared", this.#options);
    events.push({ kind: "prepared" });
    return writePrepared({ cookie: rebuilt, uri });
  }

  protected finished({ payload }: Packet, { events }: SourceEffects): undefined {
    const { name, uuid } = this.#options;
    const { domain, cookie } = readFinished(payload);
    // libvirtd ends its domain for any domain that it is told of, even if it had cancelled the migration.
    if (this.#cancelled)
      throw new MigrateError(
        "protocol",
        "The destination says that it has a domain which it was told to end",
      );
    if (domain.name !== name || domain.uuid !== uuid)
      throw new MigrateError("protocol", "The destination says that it has another domain");
    const rebuilt = cookie.length === 0 ? cookie : rebuildCookie(cookie, "finished", this.#options);
    this.#held = writeFinished({ domain, cookie: rebuilt });
    events.push({ kind: "finish-answered" });
  }

  protected failed(call: Call, { payload }: Packet, { events }: SourceEffects): Uint8Array {
    const error = readRemoteError(payload);
    events.push({ kind: "failed", procedure: call.name, message: error.message });
    return errorReply(call, error);
  }

  protected unasked({ type }: Packet): void {
    throw new MigrateError(
      "protocol",
      `The destination sent a message of the type ${type} that nobody asked for`,
    );
  }

  #checkName(name: string | null): void {
    if (name !== null && name !== this.#options.name)
      throw new MigrateError("protocol", "libvirtd migrates another domain than it was told to");
  }
}
