/** A domain of libvirt as it leaves the source: found by its name, and moved as files, saved before that if it runs. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import { manifestName } from "../../../protocol/names.ts";
import type { OfferedDomain } from "../../../protocol/offer.ts";
import { fileIdentity, isSameFile } from "../../../vm/folder/file-identity.ts";
import { readManifest } from "../../../vm/folder/manifest.ts";
import { toldVm, type Vm } from "../../../vm/folder/vm-folder.ts";
import { findDomain } from "../../../vm/libvirt/domains.ts";
import { Virsh } from "../../../vm/libvirt/virsh.ts";
import { HeldFiles } from "../../../vm/qemu/held-files.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Candidate, Departure, OpenedVm } from "../departure.ts";
import { filesDeparture, wireName } from "../files/leaving-files.ts";
import { socketPlace } from "../streaming/socket-place.ts";
import type { KeptSeal } from "../tpm-at-source.ts";
import { changesThere, type DomainLook, lookAtDomain } from "./domain-look.ts";
import { type SourceLibvirtRecord, sourceLibvirtRecord } from "./libvirt-records.ts";
import { LiveDeparture } from "./live-departure.ts";
import { memoryName } from "./memory-names.ts";
import { SavedDeparture } from "./saved-departure.ts";

/** The destination gives a session up later than this host. */
const patienceMarginMs = 60_000;

/** A domain as the person named it. */
export interface LibvirtSpec {
  /** Its name or UUID. */
  libvirt: string;
  /** The URI of its daemon. */
  connect: string;
  /** False: its agent is not asked to set its clock after it stood still. */
  setsTime?: boolean;
  live: boolean;
  drop: readonly string[];
  downtimeLimitMs: number;
  autoConverge: boolean;
  /** Threads that carry streams. */
  workers: number;
}

/** What of the `send` matters here. */
export interface LibvirtSending extends KeptSeal {
  home: string;
  bandwidthBytesPerSec: number | null;
  retryForMs: number;
}

/** Returns the candidate for a domain; libvirt is asked only in `open`. Throws MigrateError "usage" for a URI. */
export function libvirtCandidate(spec: LibvirtSpec, sending: LibvirtSending): Candidate {
  const virsh = new Virsh(spec.connect, "source");
  let uuid: string | undefined;
  let isGone = false;
  const isIt = (record: SessionRecord) => {
    const kept = sourceLibvirtRecord(record);
    return (
      kept !== null && (kept.domain === spec.libvirt || kept.uuid === spec.libvirt || kept.uuid === uuid)
    );
  };
  return {
    provider: "libvirt",
    isIt,
    wasMovedBy: (record) => isGone && isIt(record),
    async open() {
      isGone = (await findDomain(virsh, spec.libvirt)) === null;
      const patienceMs = sending.retryForMs + patienceMarginMs;
      const look = await lookAtDomain(virsh, spec.libvirt, { ...spec, patienceMs });
      ({ uuid } = look.info);
      try {
        if (look.offered === null) throw look.refusals[0];
        return await openedDomain(virsh, look, look.offered, spec, sending);
      } catch (thrown) {
        throw thrown instanceof MigrateError ? thrown.within({ vm: look.info.name }) : thrown;
      }
    },
  };
}

async function openedDomain(
  virsh: Virsh,
  { info, files, tpmStateDir, imagePath, domain, notes }: DomainLook,
  found: OfferedDomain,
  spec: LibvirtSpec,
  sending: LibvirtSending,
): Promise<OpenedVm> {
  const offered: OfferedDomain = { ...found, ...(spec.setsTime === false ? { setTime: false } : {}) };
  const { uuid, name } = info;
  const isActive = offered.state === "running" || offered.state === "paused";
  const saves = isActive && offered.live === undefined;
  // Before it is saved, the image is not there.
  const told = (withImage: boolean): Vm =>
    toldVm({
      name,
      id: uuid,
      files: [
        ...files.filter(({ kind }) => offered.live === undefined || kind === "boot"),
        ...(withImage ? [{ kind: "ram" as const, path: imagePath, base: memoryName }] : []),
      ],
      // The state of a running domain's TPM comes with its memory.
      tpmStateDir: offered.live === undefined ? tpmStateDir : undefined,
    });
  const vm = told(offered.state === "saved");
  const tpmState = tpmStateDir === undefined ? null : ownFile(tpmStateDir);
  const memory = { kind: "ram" as const, name: memoryName, bytes: 0, path: imagePath };
  const kept: SourceLibvirtRecord = {
    side: "source",
    uri: virsh.uri,
    uuid,
    domain: name,
    definition: info.isPersistent
      ? await virsh.run(["dumpxml", "--domain", uuid, "--inactive", "--security-info"])
      : null,
    autostart: info.autostart,
    state: offered.state,
    saves,
    setsTime: saves && spec.setsTime !== false,
    image: offered.state === "saved" ? ownFile(imagePath) : null,
    // A mirrored disk, NVRAM and a TPM that came with the memory: what is left here of them.
    retire:
      offered.live === undefined
        ? []
        : files.filter(({ kind }) => kind === "disk").flatMap(({ path }) => ownFile(path) ?? []),
    // libvirt takes it away with the definition.
    tpmStateDir: offered.live === undefined ? null : (tpmStateDir ?? null),
    ...(offered.live !== undefined && tpmState != null ? { tpmStateIs: tpmState.identity } : {}),
    ...(sending.tpmSeal === undefined ? {} : { tpmSeal: sending.tpmSeal }),
    isLive: offered.live !== undefined,
    withdrawn: false,
  };
  return {
    facts: {
      name,
      vm: uuid,
      files: [
        ...vm.files.map((file) => ({
          kind: file.kind,
          name: wireName(file.base),
          bytes: file.bytes,
          ...(file.format === undefined ? {} : { format: file.format }),
          path: file.path,
          identity: fileIdentity(file.path)!,
        })),
        ...(saves ? [memory] : []),
      ],
      folder: ownFolder(uuid, files),
      bytes: [...vm.files, ...(offered.live?.disks ?? [])].reduce(
        (sum, { bytes }) => sum + bytes,
        offered.live === undefined ? 0 : domain!.memoryBytes,
      ),
      kept,
    },
    // By what is its own: what domains are started from (kernels, installation images) many may share.
    isStill: (gone) => {
      const own = [
        ...files.filter(({ kind }) => kind === "disk"),
        ...vm.files.filter(({ kind }) => kind !== "boot"),
      ];
      const now = own.map(({ path }) => fileIdentity(path));
      const then = [
        ...gone.files.filter(({ kind }) => kind !== "boot"),
        ...(sourceLibvirtRecord(gone)?.retire ?? []),
      ];
      return then.some(({ identity }) => now.some((file) => isSameFile(identity, file)));
    },
    // One that this program has saved goes on here first.
    resumes: (record) =>
      !isActive &&
      sourceLibvirtRecord(record)?.saves === false &&
      record.files.length === vm.files.length &&
      record.files.every((file, i) => {
        const now = vm.files[i]!;
        return (
          file.path === now.path &&
          file.bytes === now.bytes &&
          file.format === now.format &&
          isSameFile(file.identity, fileIdentity(now.path))
        );
      }),
    depart: (session) => {
      const isSaid = new Set<string>();
      // What was said on an earlier link is not said again.
      const changes: Departure["changes"] = (accepted) =>
        changesThere({ domain, notes }, accepted).filter((text) => !isSaid.has(text) && isSaid.add(text));
      if (saves)
        return new SavedDeparture({
          changes,
          ...{ virsh, uuid, offered, kept, imagePath },
          ...{ order: vm, reopen: () => told(true) },
        });
      if (offered.live === undefined) return { ...filesDeparture(vm, "move"), domain: offered, changes };
      return new LiveDeparture({
        changes,
        ...{ virsh, uuid, name, kept, domain: offered },
        ...{ downtimeLimitMs: spec.downtimeLimitMs, autoConverge: spec.autoConverge, workers: spec.workers },
        bandwidthBytesPerSec: sending.bandwidthBytesPerSec,
        targets: offered.live.disks.map(({ target }) => target),
        paths: offered.live.disks.map(
          ({ target }) => domain!.disks.find((disk) => disk.target === target)!.path!,
        ),
        ramBytes: domain!.memoryBytes,
        files: HeldFiles.open(vm.files),
        fileCount: vm.files.length,
        requireUnheld: () => null,
        // libvirt gives each socket to the user of the domain's QEMU.
        sockets: socketPlace(sending.home, session, 0),
      });
    },
    close: () => {},
  };
}

/** The folder in which the domain arrived on this host, if any file of it lies there still: it is retired as a whole. */
function ownFolder(uuid: string, files: readonly { path: string }[]): string | null {
  const folders = [...new Set(files.map(({ path }) => dirname(path)))];
  const isOwn = (folder: string) => {
    try {
      const { id, manager } = readManifest(join(folder, manifestName));
      return id === uuid && manager === "libvirt";
    } catch {
      // None, or another program's.
      return false;
    }
  };
  return folders.find(isOwn) ?? null;
}

function ownFile(path: string) {
  const identity = existsSync(path) ? fileIdentity(path) : null;
  return identity === null ? null : { path, identity };
}
