/**
 * The gate before the destination's libvirtd, whose socket is root. A source that is not trusted calls it; what
 * reaches libvirtd are six procedures, in the order of a migration, with arguments that are ours: AUTH_LIST,
 * CONNECT_OPEN, CONNECT_SUPPORTS_FEATURE (three features), PREPARE3_PARAMS, FINISH3_PARAMS, CONNECT_CLOSE. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Call } from "./conversation.ts";
import { rebuildCookie } from "./cookie.ts";
import { type Effects, Gate, type GateLimits } from "./gate.ts";
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
import { errorReply, migrateFinishOk, readRemoteError, withoutPaths } from "./remote-error.ts";

export interface DestinationGateOptions {
  /** The domain that may come. */
  name: string;
  /** Lower case, with hyphens. */
  uuid: string;
  /** The definition that libvirtd is to start, whatever the source sends. */
  xml: string;
  /** Where QEMU is to wait for the RAM: `unix:///PATH`. */
  migrateUri: string;
  /** Where QEMU is to offer the disks that are mirrored: `unix:///PATH`. */
  disksUri: string;
  /** Targets of the disks that are mirrored ("vda"); none if there is nothing to mirror. */
  disks: readonly string[];
  /** What is opened, instead of what the source says; `qemu:///system` if left out. */
  uri?: string;
  limits?: GateLimits;
}

export type DestinationEvent =
  /** The domain waits for its RAM. */
  | { kind: "prepared" }
  /** The source says that the RAM is over, or that it gave up; libvirtd is asked to finish. */
  | { kind: "finishing"; cancelled: boolean }
  /** Whether the domain is there; if so it stands, paused, until somebody resumes it. */
  | { kind: "finished"; domain: boolean }
  /** The source has given up, and libvirtd has ended the domain. */
  | { kind: "cancelled" }
  /** libvirtd answered with an error: its sentence, which may name paths of this host. */
  | { kind: "failed"; procedure: string; message: string };

type DestinationEffects = Effects<DestinationEvent>;

export class DestinationGate extends Gate<DestinationEvent> {
  readonly #options: DestinationGateOptions;
  /** Where the source said it would migrate to; told back to it if libvirtd names another place. */
  #askedUri: string | null = null;
  #cancelled = false;

  constructor(options: DestinationGateOptions) {
    super(options.uri ?? "qemu:///system", options.limits);
    this.#options = options;
  }

  protected prepare({ payload }: Packet): Uint8Array {
    const asked = readPrepare(payload);
    const { name, xml, migrateUri, disksUri, disks } = this.#options;
    this.#checkName(asked.destinationName);
    if (!asked.disks.every((target) => disks.includes(target)))
      throw new MigrateError("policy", "The source wants to mirror a disk that was not agreed on");
    const cookie = rebuildCookie(asked.cookie, "prepare", this.#options);
    this.#askedUri = asked.migrateUri;
    const mirrored = disks.map((target) => text("migrate_disks", target));
    const params = [
      text("destination_xml", xml),
      text("destination_name", name),
      text("migrate_uri", migrateUri),
      ...(disks.length > 0 ? [...mirrored, text("disks_uri", disksUri)] : []),
    ];
    return writePrepare(params, cookie, flagsFor(disks));
  }

  protected finish({ payload }: Packet, { events }: DestinationEffects): Uint8Array {
    const { destinationName, cookie, cancelled } = readFinish(payload);
    const { name, disks } = this.#options;
    this.#checkName(destinationName);
    this.#cancelled = cancelled;
    events.push({ kind: "finishing", cancelled });
    // A source that gives up early has nothing to say.
    const silent = cancelled && cookie.length === 0;
    const rebuilt = silent ? cookie : rebuildCookie(cookie, "finish", this.#options);
    return writeFinish([text("destination_name", name)], rebuilt, flagsFor(disks), cancelled);
  }

  protected close(call: Call, effects: DestinationEffects): void {
    this.forward(call, undefined, effects);
  }

  protected prepared({ payload }: Packet, { events }: DestinationEffects): Uint8Array {
    const { cookie, uri } = readPrepared(payload);
    const rebuilt = rebuildCookie(cookie, "prepared", this.#options);
    events.push({ kind: "prepared" });
    return writePrepared({ cookie: rebuilt, uri: uri === null ? null : this.#askedUri });
  }

  protected finished({ payload }: Packet, { events }: DestinationEffects): Uint8Array {
    const { domain, cookie } = readFinished(payload);
    if (this.#cancelled || domain.name !== this.#options.name || domain.uuid !== this.#options.uuid)
      throw new MigrateError("protocol", "libvirt has finished another migration than this one");
    const rebuilt = cookie.length === 0 ? cookie : rebuildCookie(cookie, "finished", this.#options);
    events.push({ kind: "finished", domain: true });
    return writeFinished({ domain, cookie: rebuilt });
  }

  protected failed(call: Call, { payload }: Packet, { events }: DestinationEffects): Uint8Array {
    const error = readRemoteError(payload);
    const finishing = call.name === "DOMAIN_MIGRATE_FINISH3_PARAMS";
    if (!(finishing && this.#cancelled && error.code === migrateFinishOk))
      events.push({ kind: "failed", procedure: call.name, message: error.message });
    if (finishing) events.push(this.#cancelled ? { kind: "cancelled" } : { kind: "finished", domain: false });
    return errorReply(call, { ...error, message: withoutPaths(error.message) });
  }

  /** An event of libvirtd's, which the source has no use for. */
  protected unasked(): void {}

  #checkName(name: string | null): void {
    if (name !== null && name !== this.#options.name)
      throw new MigrateError("policy", "The source speaks of another domain");
  }
}
