/**
 * A domain that this host owns, as its libvirt is told of it: its TPM's state is put where libvirt looks for it, it is
 * defined, and goes on from its memory's image. Every step may be done again after a crash.
 */
import { chmodSync, existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { syncFolder } from "../../../platform/files/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { type DomainInfo, domainXml, findDomain } from "../../../vm/libvirt/domains.ts";
import { readSaveImage, replaceXml } from "../../../vm/libvirt/save-image.ts";
import { NeverRan } from "../never-ran.ts";
import { presentOf, type ReadDomain, readBoth, xmlIn } from "./arriving-xml.ts";
import { cutLinks } from "./card-links.ts";
import { withXml } from "./domain-at-source.ts";
import { forPeer, type LibvirtConfig } from "./landing-host.ts";
import type { ArrivingLibvirtRecord } from "./libvirt-records.ts";
import { liveLink } from "./live-link.ts";
import { memoryName, restoringName } from "./memory-names.ts";
import { placeTpm, takeTpm } from "./tpm-place.ts";

export interface Landing {
  name: string;
  /** The VM's folder under its final name. */
  folder: string;
  domain: ArrivingLibvirtRecord;
  store: string;
  session: string;
}

/**
 * A domain that waits here, paused, with all of it: it goes on, if it is to, and is defined. Throws NeverRan if it is
 * not there and certainly never ran, and MigrateError "in-doubt" if that cannot be said. `sure` is true for who saw it arrive.
 */
export async function landRunning(landing: Landing, config: LibvirtConfig, sure = false): Promise<void> {
  const { domain, name } = landing;
  const { virsh } = config.host;
  const read = readBoth(domain);
  const { uuid } = presentOf(read);
  chmodSync(landing.folder, passable);
  // Who saw it arrive, paused, asks no more: the VM stands still meanwhile.
  if (sure && domain.state === "running") {
    const { code } = await virsh.ask(["resume", "--domain", uuid]);
    if (code === 0) {
      await defineLater(landing, config, read);
      return;
    }
  }
  const found = await findDomain(virsh, uuid);
  if (found?.state === "paused" && domain.state === "running") {
    const { code, errors } = await virsh.ask(["resume", "--domain", uuid]);
    if (code !== 0) throw inDoubt(landing, virsh.failure("resume", errors));
  } else if (found === null || found.state === "off") {
    if (found?.isPersistent === true) return;
    throw new MigrateError(
      "in-doubt",
      `the destination's libvirt does not have ${name}, and it may have run`,
      {
        side: "destination",
      },
    );
  }
  if (found?.isPersistent !== true) await defineLater(landing, config, read);
}

/** A domain that runs gets its definition. */
async function defineLater(landing: Landing, config: LibvirtConfig, { defined }: ReadDomain): Promise<void> {
  if (defined === null) return;
  await define(landing, config, defined);
  if (landing.domain.autostart) await config.host.virsh.run(["autostart", "--domain", defined.uuid]);
}

/** The users as which libvirt runs VMs may pass through a VM's folder, and not list it (inode(7)). */
export const passable = 0o711;
const noLimit = { timeoutMs: Number.POSITIVE_INFINITY };

/**
 * Has libvirt take the domain over. Returns once it is as the source said. Throws NeverRan if it certainly did not run
 * and is not known to libvirt, and MigrateError "in-doubt" if that cannot be said.
 */
export async function landDomain(landing: Landing, config: LibvirtConfig): Promise<void> {
  const { folder, domain } = landing;
  const { virsh } = config.host;
  const read = readBoth(domain);
  const present = presentOf(read);
  const { uuid } = present;
  const [image, restoring] = [join(folder, memoryName), join(folder, restoringName)];
  chmodSync(folder, passable);
  const found = await findDomain(virsh, uuid);
  if (found !== null && (await ownershipOf(landing, config, found)) === "other")
    throw new NeverRan("the destination's libvirt has another domain of this UUID");
  if (found !== null && found.state !== "off" && isDone(found, domain)) {
    rmSync(restoring, { force: true });
    return;
  }
  if (existsSync(restoring)) {
    throw new MigrateError("in-doubt", `${landing.name} was being started, and is not there any more`, {
      side: "destination",
      hint: `It may have run: look at its disks. virsh restore ${restoring} starts it from its saved memory, if it did not.`,
    });
  }
  try {
    if (found === null) {
      placeTpm(folder, uuid, present.tpm);
      if (read.defined !== null) await define(landing, config, read.defined);
    }
    if (domain.autostart && read.defined !== null) await virsh.run(["autostart", "--domain", uuid]);
    const isOff = domain.state === "off" || (domain.state === "saved" && !existsSync(image));
    if (!isOff) await restore(landing, config, present, { image, restoring });
    // From now on it is libvirt's.
    rmSync(join(folder, "tpm"), { recursive: true, force: true });
  } catch (thrown) {
    if (existsSync(restoring)) {
      // A restore that libvirt says has failed has started nothing.
      const after = await findDomain(virsh, uuid);
      if (after !== null && after.state !== "off") throw inDoubt(landing, thrown);
      renameSync(restoring, image);
    }
    await forgetDomain(landing, config, found === null);
    throw new NeverRan(
      "the destination's libvirt could not start the VM",
      forPeer(thrown, "libvirt refused"),
    );
  }
}

function isDone({ state }: DomainInfo, { state: wanted }: ArrivingLibvirtRecord): boolean {
  return wanted === "running" ? state === "running" : wanted === "paused" && state === "paused";
}

function inDoubt({ name }: Landing, cause: unknown): MigrateError {
  return new MigrateError(
    "in-doubt",
    `the destination's libvirt has ${name}, and it is not as it should be`,
    {
      side: "destination",
      cause,
    },
  );
}

async function define({ folder }: Landing, { host, netMap }: LibvirtConfig, domain: Domain): Promise<void> {
  await withXml(xmlIn(folder, domain, netMap, { fromStream: false }), (path) =>
    host.virsh.run(["define", "--file", path]),
  );
}

/** The domain goes on from the image of its memory, which is used up. */
async function restore(
  { folder, domain }: Landing,
  { host, netMap }: LibvirtConfig,
  present: Domain,
  { image, restoring }: { image: string; restoring: string },
): Promise<void> {
  const { virsh } = host;
  const { wasRunning } = readSaveImage(image);
  replaceXml(image, xmlIn(folder, present, netMap, { fromStream: true }));
  renameSync(image, restoring);
  syncFolder(folder);
  // Paused first: should it fail, nothing has run.
  await virsh.run(["restore", "--file", restoring, "--paused"], noLimit);
  // Whether a card's link is up came with the memory.
  await cutLinks(present, { host, netMap });
  if (domain.state === "running") await virsh.run(["resume", "--domain", present.uuid]);
  if (domain.state === "saved")
    await virsh.run(
      ["managedsave", "--domain", present.uuid, wasRunning ? "--running" : "--paused"],
      noLimit,
    );
  rmSync(restoring, { force: true });
}

/**
 * libvirt forgets the domain, and it runs no more. Idempotent; touches none but this session's: one that lies in this
 * folder, or of which `isOurs` says so. Throws as `Virsh.run`.
 */
export async function forgetDomain(landing: Landing, config: LibvirtConfig, isOurs = false): Promise<void> {
  const { folder, domain } = landing;
  const { virsh } = config.host;
  const { uuid, tpm } = presentOf(readBoth(domain));
  const info = await findDomain(virsh, uuid);
  if (info !== null) {
    const whose = await ownershipOf(landing, config, info);
    // One without a file that only runs has come by the gate of this session: it was not there before.
    const isThis = whose === "this" || (whose === "unknown" && (isOurs || !info.isPersistent));
    if (!isThis) return;
    if (info.state !== "off") await virsh.run(["destroy", "--domain", uuid]);
    if (info.isPersistent) await virsh.run(["undefine", "--domain", uuid, "--managed-save", "--keep-nvram"]);
  }
  takeTpm(folder, uuid, tpm);
}

/** A file that a domain has of its own. */
const namesFile = /<source file=|<nvram|<kernel>|<initrd>/;

/** Whether a domain of this UUID is the one of this session; "unknown" if it names no file at all. */
async function ownershipOf(
  landing: Landing,
  { host }: LibvirtConfig,
  { uuid, isPersistent }: DomainInfo,
): Promise<"this" | "other" | "unknown"> {
  const xml = await domainXml(host.virsh, uuid, isPersistent ? "defined" : "live");
  const places = [landing.folder, liveLink(landing)];
  if (places.some((place) => xml.includes(`'${place}/`) || xml.includes(`>${place}/`))) return "this";
  return namesFile.test(xml) ? "other" : "unknown";
}
