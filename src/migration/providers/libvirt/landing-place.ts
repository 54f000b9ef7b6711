/**
 * Where a domain that arrives comes to be at this host, whose a domain of its UUID is that libvirt has, and how libvirt is
 * told to forget it.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type DomainInfo, findDomain } from "../../../vm/libvirt/domains.ts";
import { presentOf, readBoth } from "./arriving-xml.ts";
import type { LibvirtConfig } from "./landing-host.ts";
import type { ArrivingLibvirtRecord } from "./libvirt-records.ts";
import { liveLink } from "./live-link.ts";
import { takeTpm } from "./tpm-place.ts";

export interface Landing {
  name: string;
  /** The VM's folder under its final name. */
  folder: string;
  domain: ArrivingLibvirtRecord;
  store: string;
  session: string;
}

/** Root alone makes folders there, and it does not outlive a boot: hier(7). */
export const runFolder = "/run/migrate";
/** How long a libvirtd that has died may take to come again: whoever watches over it starts it at once. */
export const restartMs = 30_000;
/** How often what is to end is told so, and after how many milliseconds each. */
const mostEndTries = 20;
const betweenTriesMs = 200;

/** Where the sockets are by which it arrives while it runs. */
export const arrivalFolder = ({ session }: Pick<Landing, "session">): string => join(runFolder, session);

/**
 * libvirt forgets the domain, and it runs no more. Idempotent; touches none but this session's: one that lies in this
 * folder, or of which `isOurs` says so. Throws as `Virsh.run`.
 */
export async function forgetDomain(landing: Landing, config: LibvirtConfig, isOurs = false): Promise<void> {
  const { folder, domain } = landing;
  const { virsh } = config.host;
  const { uuid, tpm } = presentOf(readBoth(domain));
  rmSync(arrivalFolder(landing), { recursive: true, force: true });
  await virsh.reached(restartMs);
  for (let triesLeft = mostEndTries; ; triesLeft--) {
    const info = await findDomain(virsh, uuid);
    if (info === null) break;
    const whose = await ownershipOf(landing, config, info);
    // libvirt ends by itself what waits for a source that is gone.
    if (whose === "gone") continue;
    // One without a file that only runs has come by the gate of this session: it was not there before.
    const isThis = whose === "this" || (whose === "unknown" && (isOurs || !info.isPersistent));
    if (!isThis) return;
    const words =
      info.state === "off"
        ? ["undefine", "--domain", uuid, "--managed-save", "--keep-nvram"]
        : ["destroy", "--domain", uuid];
    const { code, errors } = await virsh.ask(words);
    if (code === 0) continue;
    if (triesLeft === 0) throw virsh.failure(words[0]!, errors);
    await Bun.sleep(betweenTriesMs);
  }
  takeTpm(folder, uuid, tpm);
}

/** A file that a domain has of its own. */
const namesFile = /<source file=|<nvram|<kernel>|<initrd>/;

/** Whether a domain of this UUID is the one of this session; "unknown" if it names no file, "gone" if it is not there any more. */
export async function ownershipOf(
  landing: Landing,
  { host }: LibvirtConfig,
  { uuid, isPersistent }: DomainInfo,
): Promise<"this" | "other" | "unknown" | "gone"> {
  const xml = await host.virsh.find(["dumpxml", "--domain", uuid, ...(isPersistent ? ["--inactive"] : [])]);
  if (xml === null) return "gone";
  const places = [landing.folder, liveLink(landing)];
  if (places.some((place) => xml.includes(`'${place}/`) || xml.includes(`>${place}/`))) return "this";
  return namesFile.test(xml) ? "other" : "unknown";
}
