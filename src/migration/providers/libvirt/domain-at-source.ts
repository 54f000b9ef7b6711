/**
 * What is done to a domain at the source beside moving it: it is taken away from libvirt before the destination hears of
 * the release, had back as it was if it stays, and its files are retired. Every step may be done again.
 */
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { renameNoReplace, syncFolder } from "../../../platform/files/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { fileIdentity, isSameFile } from "../../../vm/folder/file-identity.ts";
import { type DomainInfo, findDomain } from "../../../vm/libvirt/domains.ts";
import { namesAgentChannel, setDomainTime } from "../../../vm/libvirt/guest-time.ts";
import { outgoingMigration } from "../../../vm/libvirt/migrate-command.ts";
import { stdinFile, Virsh } from "../../../vm/libvirt/virsh.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import { StillHere } from "../still-here.ts";
import { socketPlace } from "../streaming/socket-place.ts";
import { type TpmHere, tpmAmong } from "../tpm-at-source.ts";
import { imagePathOf } from "./domain-look.ts";
import { type SourceLibvirtRecord, sourceLibvirtRecord } from "./libvirt-records.ts";
import { removeEmptyTpmFolders } from "./tpm-place.ts";

/** How long a libvirtd that has died may take to come again: whoever watches over it starts it at once. */
const restartMs = 30_000;
/** The image's second name: libvirt undefines no domain whose memory is saved without taking the image away. */
const asideSuffix = ".migrate";
/** How often, and after how many milliseconds each, a save that is broken off is asked for again. */
const mostTries = 300;
const betweenTriesMs = 200;
/** So often a domain that stands for its move, which nobody is at any more, is looked at. */
const looksAtRest = 10;

/**
 * Takes the domain's definition away from libvirt, so that nobody starts it here from now on; its NVRAM, its TPM's state
 * and its memory's image stay. `keep` records it. Throws StillHere if the domain runs.
 */
export async function withdrawDomain(record: SessionRecord, keep: (kept: object) => void): Promise<void> {
  const kept = sourceLibvirtRecord(record)!;
  if (kept.withdrawn) return;
  const virsh = new Virsh(kept.uri, "source");
  await virsh.reached(restartMs);
  const info = kept.isLive ? await settledMigration(virsh, kept.uuid) : await findDomain(virsh, kept.uuid);
  if (info !== null && info.state !== "off") {
    // libvirtd lets a domain go on if this program dies before it is told that the other side has it.
    throw new StillHere(`${kept.domain} goes on here: its destination was not told that it was released`);
  }
  if (info !== null) {
    keepImage(kept);
    await undefine(virsh, kept.uuid);
  }
  keep({ ...kept, withdrawn: true });
}

/**
 * libvirt has no definition of a domain that is elsewhere: it may have been killed before it forgot one that was moved as
 * it ran. Idempotent. Throws MigrateError "in-doubt" if the domain runs.
 */
export async function forgetAtSource(kept: SourceLibvirtRecord): Promise<void> {
  const virsh = new Virsh(kept.uri, "source");
  await virsh.reached(restartMs);
  const info = await findDomain(virsh, kept.uuid);
  if (info === null) return;
  if (info.state !== "off") {
    throw new MigrateError("in-doubt", `${kept.domain} is the destination's, and runs here`, {
      side: "source",
      hint: "End it here: virsh destroy. It was started after it had been moved.",
    });
  }
  await undefine(virsh, kept.uuid);
}

async function undefine(virsh: Virsh, uuid: string): Promise<void> {
  const words = ["undefine", "--domain", uuid, "--managed-save"];
  const { code, errors } = await virsh.ask([...words, "--keep-nvram", "--keep-tpm"]);
  if (code === 0) return;
  // libvirt before 8.9 has no --keep-tpm, and keeps it.
  if (!/unsupported option|unknown option|unsupported flags/i.test(errors))
    throw virsh.failure("undefine", errors);
  await virsh.run([...words, "--keep-nvram"]);
}

function keepImage({ image }: SourceLibvirtRecord): void {
  if (image === null || !existsSync(image.path) || existsSync(image.path + asideSuffix)) return;
  linkSync(image.path, image.path + asideSuffix);
  syncFolder(dirname(image.path));
}

/**
 * Has the domain as it was: defined, with its autostart, and running if this program had saved it. Idempotent. Throws
 * MigrateError "libvirt-failed".
 */
export async function domainStaysHere(record: SessionRecord): Promise<void> {
  const kept = sourceLibvirtRecord(record)!;
  const virsh = new Virsh(kept.uri, "source");
  const { image, definition, uuid } = kept;
  await virsh.reached(restartMs);
  removeSockets(record);
  const aside = image && image.path + asideSuffix;
  if (image !== null && existsSync(aside!) && !existsSync(image.path)) renameNoReplace(aside!, image.path);
  if (definition !== null && (await findDomain(virsh, uuid)) === null) {
    await virsh.run(["define", "--file", stdinFile], { input: definition });
    if (kept.autostart) await virsh.run(["autostart", "--domain", uuid]);
  }
  if (kept.isLive && kept.withdrawn) {
    restoreTpm(kept);
    // Its memory is gone: what is left is what a power cut leaves.
    if (kept.state === "running" && (await findDomain(virsh, uuid))?.state === "off")
      await virsh.run(["start", "--domain", uuid], { timeoutMs: Number.POSITIVE_INFINITY });
    return;
  }
  if (kept.isLive && !kept.withdrawn) {
    const info = await settledMigration(virsh, uuid);
    if (kept.tpmStateDir !== null) rmSync(asideOf(kept.tpmStateDir), { recursive: true, force: true });
    // libvirt has it go on by itself as its move fails; whoever dies in between may leave it stopped.
    if (kept.state === "running" && info?.state === "paused" && (info.reason !== "user" || kept.forced))
      await virsh.run(["resume", "--domain", uuid]);
    return;
  }
  if (!kept.saves) return;
  const info = await settledDomain(virsh, uuid);
  if (definition === null) return await restoreTransient(virsh, kept, info);
  // Of a save that was broken off, or of one that it has been started from since.
  if (info?.state === "running" && info.isSaved) await virsh.run(["managedsave-remove", "--domain", uuid]);
  // libvirt forgets, with the definition, that there is an image; `start` looks for it nevertheless.
  const isSaved = info?.isSaved === true || (image !== null && existsSync(image.path));
  if (info?.state === "off" && isSaved) {
    await virsh.run(["start", "--domain", uuid], { timeoutMs: Number.POSITIVE_INFINITY });
    // It stood still as long as it was saved.
    if (kept.setsTime === true && definition !== null && namesAgentChannel(definition))
      await setDomainTime(virsh, uuid);
  }
}

/** A domain without a definition: the image alone brings it back, and is of no use after that. */
async function restoreTransient(
  virsh: Virsh,
  { domain, uuid }: SourceLibvirtRecord,
  info: DomainInfo | null,
): Promise<void> {
  const path = imagePathOf(domain);
  if (!existsSync(path)) return;
  const xml = await virsh.run(["save-image-dumpxml", "--file", path]);
  if (!xml.includes(`<uuid>${uuid}</uuid>`)) return;
  if (info === null) await virsh.run(["restore", "--file", path], { timeoutMs: Number.POSITIVE_INFINITY });
  rmSync(path, { force: true });
}

/** The domain, once libvirt does not save it any more: what this program began, and did not wait for, is broken off. */
async function settledDomain(virsh: Virsh, uuid: string): Promise<DomainInfo | null> {
  for (let tries = 0; tries < mostTries; tries++) {
    const info = await findDomain(virsh, uuid);
    if (info === null || info.reason !== "saving") return info;
    await virsh.ask(["domjobabort", "--domain", uuid]);
    await Bun.sleep(betweenTriesMs);
  }
  throw new MigrateError("libvirt-failed", "libvirt saves the domain still", {
    side: "source",
    hint: "Wait until it is done, then start it: virsh start.",
  });
}

/**
 * The domain, once libvirt does not migrate it any more: what this program began, and did not wait for, is broken off. A
 * libvirtd that died while the domain stood for its move leaves it so; one that has just come again ends it, if it had
 * been told to.
 */
async function settledMigration(virsh: Virsh, uuid: string): Promise<DomainInfo | null> {
  let lookedOn = 0;
  for (let tries = 0; tries < mostTries; tries++) {
    const info = await findDomain(virsh, uuid);
    if (info === null || info.state === "off") return info;
    if (await outgoingMigration(virsh, uuid)) {
      lookedOn = 0;
      await virsh.ask(["domjobabort", "--domain", uuid]);
    } else {
      lookedOn += 1;
      const stands = info.state === "paused" && info.reason === "migrating";
      if (!stands || lookedOn > looksAtRest) return info;
    }
    await Bun.sleep(betweenTriesMs);
  }
  throw new MigrateError("libvirt-failed", "libvirt migrates the domain still", {
    side: "source",
    hint: "Wait until it is done (virsh domjobinfo), then give the same command again.",
  });
}

/** Takes away the sockets of a move as it ran: whoever made them may have died. Idempotent. */
export function removeSockets({ session, kept }: SessionRecord): void {
  if ((kept as SourceLibvirtRecord | null)?.isLive !== true) return;
  rmSync(socketPlace("", session, 0).folder, { recursive: true, force: true });
}

/**
 * Takes away the image of its memory: beside disks that go on elsewhere it is of no use, and does harm if it is started
 * from. Idempotent.
 */
export function removeImage({ image }: SourceLibvirtRecord): void {
  if (image === null) return;
  rmSync(image.path + asideSuffix, { force: true });
  // libvirt has taken it away with the definition, if there was one.
  if (isSameFile(fileIdentity(image.path), image.identity)) rmSync(image.path, { force: true });
}

/** The state of its TPM under another name: libvirt takes it away together with a domain that it forgets. */
const asideOf = (tpmStateDir: string) => `${dirname(tpmStateDir)}${asideSuffix}`;

/**
 * Keeps the state of a TPM that came with the memory until the domain is elsewhere: by other names of the same files, so
 * that what libvirt takes away can still be destroyed. swtpm never writes into a file that is there (it renames a new
 * one). Idempotent. Throws as node:fs does.
 */
export function keepTpm({ tpmStateDir }: SourceLibvirtRecord): void {
  if (tpmStateDir === null || !existsSync(tpmStateDir)) return;
  const aside = asideOf(tpmStateDir);
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { mode: 0o700 });
  const { uid, gid, mode } = statSync(tpmStateDir);
  for (const { name } of readdirSync(tpmStateDir, { withFileTypes: true }).filter((entry) => entry.isFile()))
    nameAgain(join(tpmStateDir, name), join(aside, name));
  // It may become the domain's own again.
  chownSync(aside, uid, gid);
  chmodSync(aside, mode & 0o777);
  syncFolder(aside);
}

/** A file system without hard links gets a copy. */
function nameAgain(path: string, other: string): void {
  try {
    linkSync(path, other);
  } catch {
    cpSync(path, other, { preserveTimestamps: true });
  }
}

function restoreTpm({ tpmStateDir }: SourceLibvirtRecord): void {
  if (tpmStateDir === null || !existsSync(asideOf(tpmStateDir)) || existsSync(tpmStateDir)) return;
  mkdirSync(dirname(tpmStateDir), { recursive: true, mode: 0o711 });
  renameNoReplace(asideOf(tpmStateDir), tpmStateDir);
}

/** What of the domain's virtual TPM lies here: files that were sent, or the state that came with its memory. */
export function tpmAtSource(record: SessionRecord): TpmHere | null {
  const kept = sourceLibvirtRecord(record);
  const { image = null, tpmStateDir = null, tpmStateIs } = kept ?? {};
  // Its second name first: libvirt may have taken the other away.
  const images = image === null ? [] : [image, { ...image, path: image.path + asideSuffix }];
  const sent = tpmAmong(record.files, images, dirname);
  if (sent !== null) return { ...sent, ram: images };
  if (tpmStateDir === null) return null;
  return {
    files: [],
    folders: [
      ...(tpmStateIs === undefined ? [] : [{ path: tpmStateDir, identity: tpmStateIs }]),
      { path: asideOf(tpmStateDir), identity: null },
    ],
    ram: [],
    place: dirname(tpmStateDir),
  };
}

/**
 * The folders in which libvirt looks for the state of a TPM of this UUID are taken away once that is destroyed: the domain
 * may come back. What else lies in them stays. Idempotent.
 */
export function clearTpmPlace(record: SessionRecord): void {
  if (record.after === "copy") return;
  const path = record.files.find(({ kind }) => kind === "tpm")?.path;
  const place = path === undefined ? sourceLibvirtRecord(record)?.tpmStateDir : dirname(path);
  if (place != null) removeEmptyTpmFolders(place);
}
