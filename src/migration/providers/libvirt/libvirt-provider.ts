/** The provider of domains of libvirt: found by their names, and defined and started at the destination by its libvirt. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Surroundings } from "../../../protocol/asking.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Offer } from "../../../protocol/offer.ts";
import { relativePath } from "../../../vm/folder/staging.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { attributeOf, childOf } from "../../../vm/libvirt/xml/xml-element.ts";
import { checkRoomFor, hostRoom } from "../../../vm/qemu/host-room.ts";
import { permanentState } from "../../../vm/tpm/ek-of-state.ts";
import { ownFilesOf, retireFiles } from "../files/retire.ts";
import type { LandingPolicy, Provider } from "../provider.ts";
import { retireTpmState } from "../tpm-at-source.ts";
import { ArrivingDomain } from "./arriving-domain.ts";
import { checkDomain, presentOf, readBoth, toldCards } from "./arriving-xml.ts";
import {
  clearTpmPlace,
  domainStaysHere,
  forgetAtSource,
  keepTpm,
  removeImage,
  removeSockets,
  tpmAtSource,
  withdrawDomain,
} from "./domain-at-source.ts";
import { libvirtFolders, tpmFolderOf } from "./domain-look.ts";
import { runFolder } from "./landing-place.ts";
import { arrivingLibvirtRecord, sourceLibvirtRecord } from "./libvirt-records.ts";
import { LiveArrival } from "./live-arrival.ts";
import { LiveDeparture } from "./live-departure.ts";
import { removeLiveLinks } from "./live-link.ts";
import { residentDomain } from "./resident-domain.ts";

/** Before it answers, a destination may have to sync a whole VM to its disk. */
const answerMs = 30 * 60_000;

export const libvirtProvider: Provider = {
  name: "libvirt",

  standsStill(record) {
    const kept = sourceLibvirtRecord(record);
    const isOpen = (record.state === "sending" || record.state === "cancelled") && !record.settled;
    return kept !== null && isOpen && (kept.saves || kept.isLive || kept.withdrawn);
  },

  resumeHere: domainStaysHere,
  async withdraw(record, { departure, keep }) {
    if (departure instanceof LiveDeparture) {
      keepTpm(sourceLibvirtRecord(record)!);
      if (await departure.letGo()) {
        keep({ ...sourceLibvirtRecord(record)!, withdrawn: true });
        return;
      }
    }
    await withdrawDomain(record, keep);
  },

  async retire(record, _home, departure, warn) {
    const kept = sourceLibvirtRecord(record);
    if (departure instanceof LiveDeparture) await departure.gone();
    if (kept !== null) await forgetAtSource(kept);
    removeSockets(record);
    await retireTpmState(record, libvirtProvider.tpmHere(record), warn);
    retireFiles(record, libvirtProvider.ownFiles(record));
    if (record.folder !== null) removeLiveLinks(record.folder);
    if (kept !== null) removeImage(kept);
    clearTpmPlace(record);
  },

  tpmHere: tpmAtSource,

  // The image of the memory is taken away by itself, whatever becomes of the rest.
  ownFiles: (record) => [
    ...ownFilesOf({ ...record, files: record.files.filter(({ kind }) => kind !== "ram") }),
    ...(sourceLibvirtRecord(record)?.retire ?? []),
  ],
  leftBehind: () => [],

  givenBackHint(record) {
    const kept = sourceLibvirtRecord(record);
    if (kept === null || !kept.isLive || !kept.withdrawn) return undefined;
    return kept.state === "running"
      ? "its memory was lost with the destination's libvirt: it was started here anew from its disks, as after a power cut"
      : "its memory was lost with the destination's libvirt: it is switched off here";
  },

  provenOf: (record) =>
    (sourceLibvirtRecord(record)?.isLive ?? arrivingLibvirtRecord(record)?.live !== undefined)
      ? "of its RAM and disks as they were sent, not of the images that QEMU made of them"
      : undefined,
  // A destination that is alive but never answers would keep a VM stopped forever.
  answerMs: (record) => (sourceLibvirtRecord(record)?.state === "off" ? undefined : answerMs),

  runsThere(record) {
    const state = (sourceLibvirtRecord(record) ?? arrivingLibvirtRecord(record))?.state;
    return state === "running" ? true : state === "paused" ? false : undefined;
  },

  keep: ({ domain }) => (domain === undefined ? null : { side: "destination", ...domain }),

  sameKept(record, offer) {
    const { landed: _, bound: __, vmPolicy: ___, ...offered } = arrivingLibvirtRecord(record)!;
    return isDeepStrictEqual(offered, libvirtProvider.keep(offer));
  },

  sealedPaths: (record) => [
    ...record.files.map(relativePath),
    ...(arrivingLibvirtRecord(record)?.live?.disks ?? []).map(({ name }) => name),
  ],
  sealed: ({ kept }, { bound }, landed) => ({ ...kept, landed, ...(bound && { bound }) }),
  landed: (record) => arrivingLibvirtRecord(record)?.landed ?? {},

  check(offer, { libvirt }) {
    if (libvirt === undefined) {
      throw new MigrateError("policy", "the destination takes no VMs of libvirt", {
        side: "destination",
      });
    }
    const read = checkDomain(offer, libvirt);
    const parts = [...offer.files, ...(offer.domain?.live?.disks ?? [])];
    const ramBytes = offer.domain?.live === undefined ? 0 : presentOf(read).memoryBytes;
    return { bytes: parts.reduce((sum, { bytes }) => sum + bytes, ramBytes) };
  },

  async requireFitting(offer, { libvirt }) {
    const domain = presentOf(checkDomain(offer, libvirt!));
    // One that is switched off takes no memory until somebody starts it.
    if (offer.domain!.state !== "off")
      checkRoomFor({ memoryBytes: domain.memoryBytes, processors: domain.vcpus });
    await libvirt!.host.requireFitting(domain);
  },

  surroundings: domainSurroundings,

  tpmThere(record) {
    const offered = arrivingLibvirtRecord(record);
    if (offered === null) return null;
    const { uuid, tpm } = presentOf(readBoth(offered));
    return tpm === null ? null : join(tpmFolderOf(uuid, tpm.version), permanentState);
  },

  stored: (record) => [...record.files, ...(arrivingLibvirtRecord(record)?.live?.disks ?? [])],

  delivers: (_home, { libvirt }) =>
    libvirt === undefined
      ? []
      : [
          { what: "definitions of domains, by libvirt", path: libvirtFolders.defined },
          { what: "memory of domains that were saved, by libvirt", path: libvirtFolders.saved },
          { what: "state of domains' virtual TPMs", path: libvirtFolders.tpm },
          { what: "sockets while a domain arrives", path: runFolder },
        ],

  arrive(offered, { libvirt }, options) {
    const domain = arrivingLibvirtRecord(offered);
    if (domain === null) throw new MigrateError("bug", "a session of libvirt keeps no domain");
    const how = { ...options, offered, domain, policy: libvirt };
    return domain.live === undefined ? new ArrivingDomain(how) : new LiveArrival(how);
  },

  resident: residentDomain,
  published: (record) => ({
    disks: arrivingLibvirtRecord(record)?.live?.disks ?? [],
    changes: true,
    manager: "libvirt",
    // They are libvirt's as soon as it has the domain.
    passing: ["ram", "tpm"],
  }),
};

/** Of an offer that may be refused: what can be told all the same. Throws MigrateError if its definition cannot be read. */
async function domainSurroundings(offer: Offer, { libvirt }: LandingPolicy): Promise<Surroundings> {
  if (libvirt === undefined) return {};
  const offered = offer.domain!;
  const domain = presentOf(readBoth(offered));
  const room = hostRoom();
  const cpu = cpuText(domain);
  return {
    // One that is switched off takes no memory until somebody starts it.
    ...(offered.state === "off"
      ? {}
      : { memory: { neededBytes: domain.memoryBytes, freeBytes: room.memoryBytes } }),
    processors: { needed: Math.min(domain.vcpus, 0xffff), there: room.processors },
    machine: domain.machine.slice(0, 64),
    accelerator: domain.type === "kvm" ? "kvm" : "tcg",
    ...(cpu === null ? {} : { cpu }),
    firmware: domain.firmware.loader !== null || domain.firmware.auto ? "host" : "qemu",
    ...(domain.tpm === null ? {} : { tpm: true }),
    cards: toldCards(offered, libvirt.netMap),
  };
}

/** The model that the domain names, or how libvirt is to choose one. */
function cpuText({ cpu }: Domain): string | null {
  if (cpu === null) return null;
  const model = childOf(cpu, "model")?.text;
  return (model || attributeOf(cpu, "mode") || "custom").slice(0, 64);
}
