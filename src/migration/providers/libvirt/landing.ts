/**
 * A domain that this host owns, as its libvirt is told of it: its TPM's state is put where libvirt looks for it, it is
 * defined, and goes on from its memory's image. Every step may be done again after a crash.
 */
import { chmodSync, existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { syncFolder } from "../../../platform/files/rename.ts";
import { isEnding } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { domainProcess } from "../../../vm/libvirt/domain-process.ts";
import { type DomainInfo, findDomain } from "../../../vm/libvirt/domains.ts";
import { hasAgentChannel, setDomainTime } from "../../../vm/libvirt/guest-time.ts";
import { readSaveImage, replaceXml } from "../../../vm/libvirt/save-image.ts";
import { stdinFile, type Virsh } from "../../../vm/libvirt/virsh.ts";
import { NeverRan } from "../never-ran.ts";
import { presentOf, type ReadDomain, readBoth, xmlIn } from "./arriving-xml.ts";
import { cutLinks } from "./card-links.ts";
import { forPeer, type LibvirtConfig } from "./landing-host.ts";
import { forgetDomain, type Landing, ownershipOf, restartMs } from "./landing-place.ts";
import { memoryName, restoredName, restoringName } from "./memory-names.ts";
import { placeTpm } from "./tpm-place.ts";

/**
 * A domain that waits here, paused, with all of it: it goes on, if it is to, and is defined. Throws NeverRan if it is
 * not there and certainly never ran, and MigrateError "in-doubt" if that cannot be said. Who saw it arrive gives what has
 * it go on at once: `resumeAtOnce` returns true if it certainly did.
 */
export async function landRunning(
  landing: Landing,
  config: LibvirtConfig,
  resumeAtOnce?: () => Promise<boolean>,
): Promise<void> {
  const { domain, name } = landing;
  const { virsh } = config.host;
  const read = readBoth(domain);
  const { uuid } = presentOf(read);
  chmodSync(landing.folder, passable);
  // Who saw it arrive, paused, asks no more: the VM stands still meanwhile.
  if (resumeAtOnce !== undefined && domain.state === "running") {
    // Nobody but this process would have had it go on.
    const qemu = domainProcess(name);
    if (qemu === null || isEnding(qemu)) throw new NeverRan(`the destination's libvirt has lost ${name}`);
    if (await resumeAtOnce()) {
      await defineLanded(landing, config, read);
      return;
    }
  }
  await virsh.reached(restartMs);
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
  if (found?.isPersistent !== true) await defineLanded(landing, config, read);
}

/** How often, and after how many milliseconds each, libvirt is asked again. */
const mostTries = 20;
const betweenTriesMs = 200;
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
  chmodSync(folder, passable);
  await virsh.reached(restartMs);
  const found = await standing(virsh, uuid);
  if (found !== null && (await ownershipOf(landing, config, found)) === "other")
    throw new NeverRan("the destination's libvirt has another domain of this UUID");
  const stage = stageOf(folder);
  if (stage === "restored") return await goOn(landing, config, found);
  if (stage === "none" && domain.state !== "off") {
    // It went on here before, and what became of it then is its own.
    if (found !== null) return;
    throw mayHaveRun(landing);
  }
  if (domain.state === "off" && found !== null && found.state !== "off") return;
  try {
    if (found === null) placeTpm(folder, uuid, present.tpm);
    if (domain.state === "off") await defineLanded(landing, config, read);
    else await restore(landing, config, read, found);
  } catch (thrown) {
    await forgetDomain(landing, config, found === null);
    throw new NeverRan(
      "the destination's libvirt could not start the VM",
      forPeer(thrown, "libvirt refused"),
    );
  }
  if (domain.state !== "off") await goOn(landing, config, await findDomain(virsh, uuid));
  // From now on it is libvirt's.
  rmSync(join(folder, "tpm"), { recursive: true, force: true });
}

/**
 * Has the agent of a domain that went on from its image set the clock, if it has one and is to. Returns what is to be told
 * of that; null if nothing is. Never throws.
 */
export async function timeOfLanded({ domain }: Landing, { host }: LibvirtConfig): Promise<string | null> {
  if (domain.state !== "running" || domain.setTime === false) return null;
  const present = presentOf(readBoth(domain));
  return hasAgentChannel(present) ? await setDomainTime(host.virsh, present.uuid) : null;
}

type Stage = "image" | "restoring" | "restored" | "none";

function stageOf(folder: string): Stage {
  const isThere = (name: string) => existsSync(join(folder, name));
  if (isThere(restoredName)) return "restored";
  if (isThere(restoringName)) return "restoring";
  return isThere(memoryName) ? "image" : "none";
}

/** The domain stands here, with its definition: it becomes what it was at the source. Throws MigrateError "in-doubt". */
async function goOn(landing: Landing, { host }: LibvirtConfig, found: DomainInfo | null): Promise<void> {
  const { folder, domain } = landing;
  const restored = join(folder, restoredName);
  try {
    if (found?.state === "paused" && domain.state === "running") {
      await host.virsh.run(["resume", "--domain", found.uuid]);
    } else if (found?.state === "paused" && domain.state === "saved") {
      const how = readSaveImage(restored).wasRunning ? "--running" : "--paused";
      await host.virsh.run(["managedsave", "--domain", found.uuid, how], noLimit);
    } else if (found === null || (found.state === "off" && !found.isSaved)) {
      throw mayHaveRun(landing);
    }
  } catch (thrown) {
    throw inDoubt(landing, thrown);
  }
  rmSync(restored, { force: true });
}

function mayHaveRun({ name, folder }: Landing): MigrateError {
  return new MigrateError("in-doubt", `${name} was being started, and is not there any more`, {
    side: "destination",
    hint: `It may have run: look at its disks. virsh restore ${join(folder, restoredName)} starts it from its saved memory, if it did not.`,
  });
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
  const input = xmlIn(folder, domain, netMap, { fromStream: false });
  await host.virsh.run(["define", "--file", stdinFile], { input });
}

/** It has its definition, and starts by itself if it is to. Idempotent. */
async function defineLanded(landing: Landing, config: LibvirtConfig, { defined }: ReadDomain): Promise<void> {
  if (defined === null) return;
  await define(landing, config, defined);
  if (landing.domain.autostart) await config.host.virsh.run(["autostart", "--domain", defined.uuid]);
}

/**
 * The domain stands here, paused, from the image of its memory. It has no definition before that: nobody is to start it
 * without its memory. `found` is what an earlier process has had of it.
 */
async function restore(
  landing: Landing,
  config: LibvirtConfig,
  read: ReadDomain,
  found: DomainInfo | null,
): Promise<void> {
  const { folder } = landing;
  const { virsh } = config.host;
  const [image, restoring] = [join(folder, memoryName), join(folder, restoringName)];
  if (found?.state !== "paused") {
    if (existsSync(image)) {
      replaceXml(image, xmlIn(folder, presentOf(read), config.netMap, { fromStream: true }));
      renameSync(image, restoring);
      syncFolder(folder);
    }
    await virsh.run(["restore", "--file", restoring, "--paused"], noLimit);
  }
  // Whether a card's link is up came with the memory.
  await cutLinks(presentOf(read), config);
  await defineLanded(landing, config, read);
  renameSync(restoring, join(folder, restoredName));
  syncFolder(folder);
}

/**
 * The domain, once libvirt does not restore it any more: a process that died may have begun that. It is paused for as
 * long and afterwards, with one reason; but to have it paused, which changes nothing, waits for the end.
 */
async function standing(virsh: Virsh, uuid: string): Promise<DomainInfo | null> {
  for (let tries = 0; tries < mostTries; tries++) {
    const info = await findDomain(virsh, uuid);
    if (info?.state !== "paused") return info;
    const { code } = await virsh.ask(["suspend", "--domain", uuid], noLimit);
    if (code === 0) return await findDomain(virsh, uuid);
    await Bun.sleep(betweenTriesMs);
  }
  throw new MigrateError("libvirt-failed", "libvirt restores the domain still", { side: "destination" });
}
