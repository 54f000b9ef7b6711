/**
 * A libvirt domain as `explain` and `send` find it: its definitions, its files, and everything that keeps it from being
 * moved. Changes nothing.
 */
import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import { checkFileName } from "../../../protocol/names.ts";
import type { OfferedDomain } from "../../../protocol/offer.ts";
import type { ToldFile } from "../../../vm/folder/vm-folder.ts";
import type { Domain, Place } from "../../../vm/libvirt/definition/domain.ts";
import { offeredXml } from "../../../vm/libvirt/definition/offered-domain.ts";
import { readDomain } from "../../../vm/libvirt/definition/read-domain.ts";
import {
  type DomainInfo,
  domainXml,
  hasJob,
  keptStates,
  requireDomain,
} from "../../../vm/libvirt/domains.ts";
import { compressed, readSaveImage } from "../../../vm/libvirt/save-image.ts";
import type { Virsh } from "../../../vm/libvirt/virsh.ts";
import { invalid, Refusals } from "../../../vm/qemu/refusals.ts";
import { liveDisks, requireWholeDisks } from "./live-disks.ts";
import { withoutLiveLink } from "./live-link.ts";

/** Where a system's libvirt keeps what belongs to a domain beside its disks (qemu.conf; src/qemu/qemu_conf.c). */
export const libvirtFolders = {
  defined: "/etc/libvirt/qemu",
  saved: "/var/lib/libvirt/qemu/save",
  tpm: "/var/lib/libvirt/swtpm",
} as const;

/** How often, and after how many milliseconds each, it is looked whether libvirt is done with what it does. */
const mostLooks = 25;
const betweenLooksMs = 200;

export interface DomainLeave {
  live: boolean;
  drop: readonly string[];
  /** How long the destination is to wait for this host, in milliseconds. */
  patienceMs: number;
}

export interface DomainLook {
  info: DomainInfo;
  /** What of it runs, or what it is defined as if nothing does; null if that is refused. */
  domain: Domain | null;
  /** What OFFER carries; null if anything is refused. */
  offered: OfferedDomain | null;
  /** Its files, its memory's image aside. */
  files: ToldFile[];
  /** The folder of its TPM's state, if that is there. */
  tpmStateDir: string | undefined;
  /** Where the image of its memory is, or comes to be. */
  imagePath: string;
  notes: string[];
  refusals: readonly MigrateError[];
}

/** Looks at the domain of that name or UUID. Throws MigrateError as `Virsh.run`, and "vm-invalid" if there is none. */
export async function lookAtDomain(virsh: Virsh, which: string, leave: DomainLeave): Promise<DomainLook> {
  const refusals = new Refusals();
  const info = await idleDomain(virsh, which, refusals);
  const isActive = info.state === "running" || info.state === "paused";
  if (info.state === "crashed" || info.state === "other") {
    refusals.add(
      invalid(
        `The domain ${info.name} is ${info.state === "other" ? "between two states" : "crashed"}`,
        "Wait until it is done, or end it: virsh destroy.",
      ),
    );
  }
  const notes: string[] = [];
  const read = (xml: string): Domain | null => {
    const { domain, refusals: unread, notes: said } = readDomain(xml, { drop: leave.drop });
    refusals.add(...unread.filter((one) => !refusals.all.some(({ message }) => message === one.message)));
    for (const note of said) if (!notes.includes(note)) notes.push(note);
    return domain;
  };
  // Each question is a process: they are asked at once.
  const [definedXml, savedXml, liveXml, kept] = await Promise.all([
    info.isPersistent ? domainXml(virsh, info.uuid, "defined") : null,
    info.isSaved ? virsh.run(["managedsave-dumpxml", "--domain", info.uuid]) : null,
    isActive ? domainXml(virsh, info.uuid, "live") : null,
    keptStates(virsh, info.uuid),
  ]);
  const activeXml = liveXml ?? savedXml;
  const defined = definedXml === null ? null : read(definedXml);
  const active = activeXml === null ? null : read(activeXml);
  refuseKeptStates(kept, refusals);
  const domain = activeXml === null ? defined : active;
  const imagePath = imagePathOf(info.name);
  if (info.isSaved && !existsSync(imagePath)) {
    refusals.add(
      invalid(`The saved memory of ${info.name} is not at ${imagePath}`, "Start it: virsh start."),
    );
  } else if (info.isSaved) refusals.attempt(() => requirePlainImage(imagePath));
  const look = { info, domain, imagePath, notes };
  const tpmStateDir = tpmStateOf(info.uuid, domain);
  if (domain === null || (info.isPersistent && defined === null)) {
    return { ...look, offered: null, files: [], tpmStateDir, refusals: refusals.all };
  }
  const files = filesOf(domain);
  const names = new Map(files.map(({ place, name }) => [keyOf(place), name]));
  const isLive = leave.live && isActive;
  const { disks, notes: said } = isLive
    ? await liveDisks(domain, leave.drop, refusals, (target) => names.get(`disk ${target}`)!)
    : { disks: [], notes: [] };
  notes.push(...said);
  if (isActive && !isLive) refusals.attempt(() => requireWholeDisks(domain));
  refusals.attempt(() => requireSameDisks(domain, defined));
  const travelling = (of: Domain | null) =>
    of === null ? undefined : offeredXml(of, (place) => names.get(keyOf(place))!);
  const offered = refusals.attempt((): OfferedDomain => {
    const [definedOffered, activeOffered] = [travelling(defined), travelling(active)];
    for (const xml of [definedOffered, activeOffered]) requireShort(xml);
    return {
      ...(definedOffered === undefined ? {} : { defined: definedOffered }),
      ...(activeOffered === undefined ? {} : { active: activeOffered }),
      state: info.isSaved ? "saved" : isActive ? (info.state as "running" | "paused") : "off",
      autostart: info.autostart,
      ...(isLive ? { live: { disks, ...nvramOf(domain, names), patienceMs: leave.patienceMs } } : {}),
    };
  });
  const isWhole = offered !== undefined && refusals.all.length === 0;
  return {
    ...look,
    offered: isWhole ? offered : null,
    files: files.map(({ file }) => file),
    tpmStateDir,
    refusals: refusals.all,
  };
}

/**
 * Sentences on what a domain loses on its way: what of its definition is left out, and the cards that have nothing behind
 * them at a destination which has accepted it with this. Pure.
 */
export function changesThere(
  { domain, notes }: Pick<DomainLook, "domain" | "notes">,
  { cards = [] }: Pick<MessageBody<"accept">, "cards">,
): string[] {
  const cut = (domain?.cards ?? []).filter(({ source }, n) => cards[n] === "none" && source.kind !== "none");
  return [
    ...notes,
    ...cut.map(({ mac, source }) => {
      const was = source.name === null ? source.kind : `${source.kind} ${source.name}`;
      return `its network card ${mac ?? "without an address"} (${was} here) has nothing behind it there: serve --net-map says what is`;
    }),
  ];
}

interface PlacedFile {
  place: Place;
  path: string;
  /** Its name as it travels. */
  name: string;
  file: ToldFile;
}

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // Whoever opens it says that it is gone.
    return path;
  }
}

function keyOf(place: Place): string {
  return place.kind === "disk" ? `disk ${place.target}` : place.kind;
}

/**
 * The files that a domain names, in the order in which it names them. They come to lie in one folder: of two that are
 * called the same, the second travels with its place before its name.
 */
function filesOf({ disks, firmware, kernel, initrd }: Domain): PlacedFile[] {
  const taken = new Set<string>();
  const placed = (place: Place, named: string | null, file: Omit<ToldFile, "path">): PlacedFile[] => {
    if (named === null) return [];
    const path = withoutLiveLink(named);
    const label = place.kind === "disk" ? place.target : place.kind;
    const names = [basename(path), `${label}-${basename(path)}`, label];
    const name = names.find((one) => !taken.has(one) && checkFileName(one) === null) ?? basename(path);
    taken.add(name);
    return [{ place, path, name, file: { ...file, path, base: name } }];
  };
  return [
    ...disks.flatMap(({ target, path, format, readOnly }) =>
      placed({ kind: "disk", target }, path, { kind: readOnly ? "boot" : "disk", format }),
    ),
    ...placed({ kind: "nvram" }, firmware.nvram, { kind: "disk", format: "raw" }),
    ...placed({ kind: "kernel" }, kernel, { kind: "boot", format: "raw" }),
    ...placed({ kind: "initrd" }, initrd, { kind: "boot", format: "raw" }),
  ];
}

/**
 * A definition may name another disk than what runs, or one more, from its next start on: those files do not travel.
 * Throws MigrateError "vm-invalid" that names one.
 */
function requireSameDisks(active: Domain, defined: Domain | null): void {
  // What arrived while it ran is known by another path to what runs of it, until it is started anew.
  const idOf = ({ place, path }: PlacedFile) => `${keyOf(place)} ${realOf(path)}`;
  const known = new Set(filesOf(active).map(idOf));
  const other = defined && filesOf(defined).find((file) => !known.has(idOf(file)));
  if (!other) return;
  throw invalid(
    `The domain's definition has ${other.path} (${keyOf(other.place)}), and what runs of it has not`,
    "Make the two alike: virsh attach-disk or detach-disk with --live or --config, or restart the domain.",
  );
}

/** What comes of the NVRAM with the memory is as long as its file is. */
function nvramOf({ firmware: { nvram } }: Domain, names: ReadonlyMap<string, string>) {
  return nvram === null ? {} : { nvram: { name: names.get("nvram")!, bytes: statSync(nvram).size } };
}

function requireShort(xml: string | undefined): void {
  if (xml === undefined || Buffer.byteLength(xml) <= limits.domainBytes) return;
  throw new MigrateError("limit", "The domain has more in its definition than can be told of", {
    side: "source",
  });
}

/** The domain, once libvirt is at no work on it: what an earlier move of it began may be on its way out. */
async function idleDomain(virsh: Virsh, which: string, refusals: Refusals): Promise<DomainInfo> {
  for (let tries = 0; ; tries++) {
    const info = await requireDomain(virsh, which);
    if (!(await hasJob(virsh, info.uuid))) return info;
    if (tries === mostLooks) {
      refusals.add(
        invalid(
          `libvirt is at work on ${info.name}: it saves, moves or copies it`,
          "Wait until it is done (virsh domjobinfo), or break it off: virsh domjobabort.",
        ),
      );
      return info;
    }
    await Bun.sleep(betweenLooksMs);
  }
}

/** Throws MigrateError "vm-invalid" for an image that no destination takes. */
export function requirePlainImage(path: string): void {
  if (!readSaveImage(path).isPlain) throw compressed();
}

function refuseKeptStates(
  { snapshots, checkpoints }: Awaited<ReturnType<typeof keptStates>>,
  refusals: Refusals,
): void {
  if (snapshots.length > 0) {
    refusals.add(
      invalid(
        `The domain has snapshots that libvirt keeps (${snapshots.slice(0, 3).join(", ")})`,
        "libvirt's record of them is not moved. Without the record they stay in the images, which --mode stop takes as they are: virsh snapshot-delete --metadata.",
      ),
    );
  }
  if (checkpoints.length > 0) {
    refusals.add(
      invalid(
        `The domain has checkpoints that libvirt keeps (${checkpoints.slice(0, 3).join(", ")})`,
        "Their record is not moved. Without it their bitmaps stay in the images, which --mode stop takes as they are: virsh checkpoint-delete --metadata.",
      ),
    );
  }
}

function tpmStateOf(uuid: string, domain: Domain | null): string | undefined {
  if (domain === null || domain.tpm === null) return undefined;
  const folder = tpmFolderOf(uuid, domain.tpm.version);
  return existsSync(folder) ? folder : undefined;
}

/** Where libvirt keeps the saved memory of a domain (src/qemu/qemu_driver.c, qemuDomainManagedSavePath). */
export function imagePathOf(name: string): string {
  return join(libvirtFolders.saved, `${name}.save`);
}

/** Where libvirt keeps the state of a domain's TPM (src/qemu/qemu_tpm.c). */
export function tpmFolderOf(uuid: string, version: "1.2" | "2.0"): string {
  return join(libvirtFolders.tpm, uuid, version === "1.2" ? "tpm1.2" : "tpm2");
}
