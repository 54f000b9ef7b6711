/**
 * A domain that runs, and is saved before anything of it is sent: libvirt's own managed save, so that whatever becomes
 * of this program, the domain goes on from where it stopped as soon as somebody starts it (virsh start).
 */
import { existsSync } from "node:fs";
import { MigrateError } from "../../../protocol/errors.ts";
import type { OfferedDomain } from "../../../protocol/offer.ts";
import { fileIdentity } from "../../../vm/folder/file-identity.ts";
import type { OpenFiles } from "../../../vm/folder/open-files.ts";
import type { Vm } from "../../../vm/folder/vm-folder.ts";
import { findDomain } from "../../../vm/libvirt/domains.ts";
import type { Virsh } from "../../../vm/libvirt/virsh.ts";
import type { Observer } from "../../report/events.ts";
import type { Tuning } from "../../report/tuning.ts";
import { requireBandwidthAlone } from "../bandwidth-alone.ts";
import type { Departure } from "../departure.ts";
import { filesDeparture } from "../files/leaving-files.ts";
import { requirePlainImage } from "./domain-look.ts";
import type { SourceLibvirtRecord } from "./libvirt-records.ts";

export interface SavedDepartureOptions {
  changes: Departure["changes"];
  virsh: Virsh;
  uuid: string;
  offered: OfferedDomain;
  kept: SourceLibvirtRecord;
  /** Where the image of its memory comes to be. */
  imagePath: string;
  /** The VM as it was offered, without the image of its memory. */
  order: Vm;
  /** Looks at the VM once more, with the image of its memory. */
  reopen: () => Vm;
}

export class SavedDeparture implements Departure {
  readonly machine = undefined;
  readonly isPaused = undefined;
  readonly streamed = [];
  readonly isLive = false;
  readonly isResumable = false;
  readonly carriedBytes = 0;
  readonly streams = undefined;
  readonly patienceMs = Number.POSITIVE_INFINITY;
  failure: MigrateError | undefined;
  stoppedAtMs: number | undefined;
  readonly #options: SavedDepartureOptions;
  #keep: (kept: object) => void = () => {};
  #files: Departure | undefined;
  #saving: Promise<void> | undefined;
  readonly #aborted = new AbortController();

  constructor(options: SavedDepartureOptions) {
    this.#options = options;
  }

  get domain(): OfferedDomain {
    return this.#options.offered;
  }

  get files(): OpenFiles {
    if (this.#files === undefined) throw new MigrateError("bug", "the domain's files are not open yet");
    // The image comes last in the offer, and is found last.
    return this.#files.files;
  }

  changes: Departure["changes"] = (accepted) => this.#options.changes(accepted);
  rewritten: Departure["rewritten"] = () => [];

  requireUnheld(): string | null {
    // While it runs, its own QEMU has them.
    return this.#files?.requireUnheld() ?? null;
  }

  onKept(keep: (kept: object) => void): void {
    this.#keep = keep;
  }

  /** Saves the domain, and opens its files. Idempotent. Throws MigrateError "libvirt-failed" and "source-changed". */
  async standStill(observe: Observer): Promise<void> {
    // A new link comes while it is still being saved.
    this.#saving ??= this.#save(observe);
    await this.#saving;
  }

  async #save(observe: Observer): Promise<void> {
    const { virsh, uuid, kept, imagePath, order, reopen, offered } = this.#options;
    observe({ event: "notice", message: `${kept.domain} is stopped, and libvirt saves its memory` });
    const how = offered.state === "paused" ? "--paused" : "--running";
    try {
      this.stoppedAtMs ??= offered.state === "running" ? performance.now() : undefined;
      // libvirt keeps the memory of what it has a definition of, and of nothing else.
      const command =
        kept.definition === null
          ? ["save", "--domain", uuid, "--file", requireNone(imagePath)]
          : ["managedsave", "--domain", uuid];
      await virsh.run([...command, how], {
        timeoutMs: Number.POSITIVE_INFINITY,
        signal: this.#aborted.signal,
      });
      const vm = inOrder(reopen(), order);
      const image = vm.files.at(-1)!;
      requirePlainImage(image.path);
      this.#files = filesDeparture(vm, "move");
      this.#keep({ ...kept, image: { path: image.path, identity: fileIdentity(image.path)! } });
    } catch (thrown) {
      this.failure = thrown instanceof MigrateError ? thrown : undefined;
      throw thrown;
    }
  }

  /** Throws MigrateError "source-changed" if somebody has started the domain. */
  async requireStill(): Promise<void> {
    const { virsh, uuid, kept } = this.#options;
    const info = await findDomain(virsh, uuid);
    if (kept.definition === null ? info === null : info?.state === "off") return;
    throw new MigrateError("source-changed", `${kept.domain} was started while it was sent`, {
      side: "source",
    });
  }

  async carry(): Promise<void> {}

  async tune(tuning: Tuning): Promise<void> {
    requireBandwidthAlone(tuning, `${this.#options.kept.domain} is saved before it is sent`);
  }

  /** The files are let go as well: the domain is to have them back. */
  async halt(): Promise<void> {
    this.#aborted.abort();
    this.close();
  }

  close(): void {
    this.#files?.close();
  }
}

/** Returns the path. Throws MigrateError "vm-invalid" if something is there: the image would take its place. */
function requireNone(imagePath: string): string {
  if (!existsSync(imagePath)) return imagePath;
  throw new MigrateError("vm-invalid", `${imagePath} is there, and is no memory of this domain`, {
    side: "source",
    hint: "Move it away.",
  });
}

/** The files in the order in which they were offered, the image last. Throws MigrateError "source-changed". */
function inOrder(now: Vm, then: Vm): Vm {
  const known = then.files.map(({ path }) => now.files.find((file) => file.path === path));
  const image = now.files.find(({ kind }) => kind === "ram");
  if (image === undefined || known.includes(undefined) || now.files.length !== then.files.length + 1) {
    throw new MigrateError("source-changed", "the domain has other files than before it was saved", {
      side: "source",
    });
  }
  return { ...now, files: [...known.map((file) => file!), image] };
}
