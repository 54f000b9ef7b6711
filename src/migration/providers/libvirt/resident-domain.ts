/** A domain at the destination as seen by a process other than the `migrate serve` that received it. */
import { join } from "node:path";
import { stagingPath } from "../../../vm/folder/staging.ts";
import { domainProcess, isDefined } from "../../../vm/libvirt/domain-process.ts";
import { findDomain } from "../../../vm/libvirt/domains.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Resident } from "../arrival.ts";
import { landDomain, landRunning, timeOfLanded } from "./landing.ts";
import { configOf } from "./landing-host.ts";
import { forgetDomain, type Landing } from "./landing-place.ts";
import { arrivingLibvirtRecord } from "./libvirt-records.ts";
import { liveLink, pointLink, removeLiveLinks } from "./live-link.ts";

/** Returns this session's domain as this host's libvirt has it. */
export function residentDomain(record: SessionRecord, home: string): Resident {
  const domain = arrivingLibvirtRecord(record);
  const landing = (): Landing => ({
    name: record.name,
    folder: join(record.store ?? "", record.name),
    domain: domain!,
    store: record.store ?? "",
    session: record.session,
  });
  const isLive = domain?.live !== undefined;
  return {
    get program() {
      switch (record.state) {
        case "receiving":
        case "ready":
          // As files it waits for nothing.
          if (!isLive) return "files";
          return domainProcess(record.name) === null ? "gone" : "there";
        case "owner":
          // It is to be taken over whatever there is of it, unless its memory is lost.
          return isLive && domainProcess(record.name) === null && !isDefined(record.name) ? "gone" : "there";
        default:
          return "files";
      }
    },

    async runs() {
      if (domain === null) return false;
      try {
        return (await findDomain(configOf(home).host.virsh, record.vm))?.state === "running";
      } catch {
        // A libvirt that cannot be asked was not told to run anything either.
        return false;
      }
    },

    relink(folder) {
      if (isLive) pointLink(liveLink(landing()), folder);
    },

    async resume() {
      const config = configOf(home);
      if (isLive) return await landRunning(landing(), config);
      await landDomain(landing(), config);
      await timeOfLanded(landing(), config);
    },

    async end() {
      if (domain === null) return;
      await forgetDomain(landing(), configOf(home));
      if (isLive) removeLiveLinks(stagingPath(landing().store, record.session));
    },
  };
}
