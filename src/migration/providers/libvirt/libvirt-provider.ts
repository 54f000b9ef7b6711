/** The provider of domains of libvirt: found by their names, and defined and started at the destination by its libvirt. */
import { isDeepStrictEqual } from "node:util";
import { MigrateError } from "../../../protocol/errors.ts";
import { relativePath } from "../../../vm/folder/staging.ts";
import { ownFilesOf, retireFiles } from "../files/retire.ts";
import type { Provider } from "../provider.ts";
import { ArrivingDomain } from "./arriving-domain.ts";
import { checkDomain, presentOf } from "./arriving-xml.ts";
import { domainStaysHere, removeEmptyTpmFolders, removeImage, withdrawDomain } from "./domain-at-source.ts";
import { arrivingLibvirtRecord, sourceLibvirtRecord } from "./libvirt-records.ts";
import { residentDomain } from "./resident-domain.ts";

export const libvirtProvider: Provider = {
  name: "libvirt",

  standsStill(record) {
    const kept = sourceLibvirtRecord(record);
    const isOpen = (record.state === "sending" || record.state === "cancelled") && !record.settled;
    return kept !== null && isOpen && (kept.saves || kept.withdrawn);
  },

  resumeHere: domainStaysHere,
  withdraw: (record, { keep }) => withdrawDomain(record, keep),

  async retire(record) {
    const kept = sourceLibvirtRecord(record);
    retireFiles(record, libvirtProvider.ownFiles(record));
    if (kept !== null) removeImage(kept);
    if (record.after === "delete") removeEmptyTpmFolders(record);
  },

  // The image of the memory is taken away by itself, whatever becomes of the rest.
  ownFiles: (record) => ownFilesOf({ ...record, files: record.files.filter(({ kind }) => kind !== "ram") }),
  leftBehind: () => [],
  provenOf: () => undefined,
  answerMs: () => undefined,

  runsThere(record) {
    const state = (sourceLibvirtRecord(record) ?? arrivingLibvirtRecord(record))?.state;
    return state === "running" ? true : state === "paused" ? false : undefined;
  },

  keep: ({ domain }) => (domain === undefined ? null : { side: "destination", ...domain }),

  sameKept(record, offer) {
    const { landed: _, ...offered } = arrivingLibvirtRecord(record)!;
    return isDeepStrictEqual(offered, libvirtProvider.keep(offer));
  },

  sealedPaths: ({ files }) => files.map(relativePath),
  sealed: ({ kept }, _seal, landed) => ({ ...kept, landed }),
  landed: (record) => arrivingLibvirtRecord(record)?.landed ?? {},

  check(offer, { libvirt }) {
    if (libvirt === undefined) {
      throw new MigrateError("policy", "the destination takes no VMs of libvirt", {
        side: "destination",
      });
    }
    checkDomain(offer, libvirt);
    return { bytes: offer.files.reduce((sum, { bytes }) => sum + bytes, 0) };
  },

  async requireFitting(offer, { libvirt }) {
    await libvirt!.host.requireFitting(presentOf(checkDomain(offer, libvirt!)));
  },

  stored: ({ files }) => files,

  arrive(offered, { libvirt }, options) {
    const domain = arrivingLibvirtRecord(offered);
    if (domain === null) throw new MigrateError("bug", "a session of libvirt keeps no domain");
    return new ArrivingDomain({ ...options, offered, domain, policy: libvirt });
  },

  resident: residentDomain,
  published: () => ({ disks: [], changes: true }),
};
