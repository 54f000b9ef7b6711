/**
 * What a destination makes of an offered domain: the XML that its own libvirt gets, of allow-listed parts, with its own
 * paths and its own networks. Pure, but for the policy's host.
 */
import { join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import type { Offer, OfferedDomain } from "../../../protocol/offer.ts";
import type { Domain, Place } from "../../../vm/libvirt/definition/domain.ts";
import { type CardPlace, landedXml } from "../../../vm/libvirt/definition/landed-domain.ts";
import { cardPlaceOf, type NetMap } from "../../../vm/libvirt/definition/net-map.ts";
import { offeredName, readOffered } from "../../../vm/libvirt/definition/offered-domain.ts";
import type { LandingHost } from "./landing-host.ts";
import { memoryName, restoringName } from "./memory-names.ts";

/** The state of a TPM (swtpm(8), --tpmstate): swtpm has no file of another name there but its lock. */
const tpmStateName = /^tpm(?:2)?-00\.(?:permall|volatilestate|savestate)$/;
/** It has some KiB, with what a guest may keep in it (libtpms: 128 KiB of NVRAM). */
const mostTpmBytes = 4 * 1024 * 1024;
/** What lies in the folder beside the files that a definition names. */
const ownNames: readonly string[] = [memoryName, restoringName, "tpm"];

/** What this destination allows domains of libvirt. */
export interface LibvirtPolicy {
  host: LandingHost;
  /** What is behind each of their network cards here. */
  netMap: NetMap;
}

const refusal = (code: "policy" | "protocol" | "name-invalid", message: string) =>
  new MigrateError(code, message, { side: "destination" });

/** An offered domain, read. */
export interface ReadDomain {
  defined: Domain | null;
  active: Domain | null;
}

/** Reads both definitions. Throws MigrateError "policy" that names what of them is refused. */
export function readBoth({ defined, active }: Pick<OfferedDomain, "defined" | "active">): ReadDomain {
  return {
    defined: defined === undefined ? null : readOffered(defined),
    active: active === undefined ? null : readOffered(active),
  };
}

/** The one that says what the domain is now. */
export function presentOf({ defined, active }: ReadDomain): Domain {
  const domain = active ?? defined;
  if (domain === null) throw refusal("protocol", "offer.domain: it has no definition at all");
  return domain;
}

/**
 * Checks what the schema of OFFER cannot say of a domain: that its definitions are of the VM that is offered, and name
 * its files and no others. Throws MigrateError "policy" and "protocol".
 */
export function checkDomain(offer: Offer, _policy: LibvirtPolicy): ReadDomain {
  const domain = offer.domain!;
  const read = readBoth(domain);
  const isActive = domain.state !== "off";
  if (isActive !== (read.active !== null))
    throw refusal("protocol", "offer.domain: its state and its definitions do not fit together");
  if (!isActive && read.defined === null)
    throw refusal("protocol", "offer.domain: it has no definition at all");
  const memory = offer.files.filter(({ kind }) => kind === "ram").length;
  if (domain.live !== undefined && domain.state !== "running" && domain.state !== "paused")
    throw refusal("protocol", "offer.domain: only what runs is moved as it runs");
  if (memory !== (isActive && domain.live === undefined ? 1 : 0))
    throw refusal("protocol", "offer.domain: its state and its files do not fit together");
  for (const one of [read.defined, read.active]) {
    if (one === null) continue;
    if (one.uuid !== offer.vm || one.name !== offer.name)
      throw refusal("protocol", "offer.domain: a definition is of another VM than is offered");
    requireFiles(offer, one);
  }
  requireNamed(offer, read);
  requireMirrors(offer, read);
  return read;
}

/** All that comes to lie in the domain's folder: as chunks, mirrored, or with its memory. */
function offeredFiles({ files, domain }: Offer) {
  const { disks = [], nvram } = domain?.live ?? {};
  return [
    ...files,
    ...disks.map(({ name, format }) => ({ kind: "disk" as const, name, format })),
    ...(nvram === undefined ? [] : [{ kind: "disk" as const, name: nvram.name, format: "raw" as const }]),
  ];
}

/** Each file that a definition names is offered, as what it is there. */
function requireFiles(offer: Offer, { disks, firmware, kernel, initrd }: Domain): void {
  const named = [
    ...disks.map(({ path, format, readOnly }) => ({ path, format, kind: readOnly ? "boot" : "disk" })),
    { path: firmware.nvram, format: "raw", kind: "disk" },
    { path: kernel, format: "raw", kind: "boot" },
    { path: initrd, format: "raw", kind: "boot" },
  ];
  for (const { path, format, kind } of named) {
    if (path === null) continue;
    const file = offeredFiles(offer).find(
      ({ name, kind: its }) => name === path && its !== "tpm" && its !== "ram",
    );
    if (file?.kind !== kind || file.format !== format)
      throw refusal("protocol", "offer.domain: a definition names a file that is not offered as what it is");
  }
}

/**
 * Nothing comes that no definition names: its memory and its TPM's state have names of their own, since the destination
 * finds them by these. A card is known by its address to whoever cuts it off.
 */
function requireNamed({ files, domain }: Offer, read: ReadDomain): void {
  const all = [read.defined, read.active].filter((one) => one !== null);
  const named = new Set(
    all.flatMap(({ disks, firmware, kernel, initrd }) => [
      ...disks.map(({ path }) => path),
      ...[firmware.nvram, kernel, initrd],
    ]),
  );
  for (const { kind, name, bytes } of files) {
    const isKnown =
      kind === "ram"
        ? name === memoryName
        : kind === "tpm"
          ? presentOf(read).tpm !== null && domain!.live === undefined && tpmStateName.test(name)
          : named.has(name) && !ownNames.includes(name);
    if (!isKnown) throw refusal("protocol", "offer.domain: a file is offered that belongs to no part of it");
    if (kind === "tpm" && bytes > mostTpmBytes)
      throw refusal("protocol", "offer.domain: its TPM has more state than a TPM has");
  }
  const macs = (read.active?.cards ?? []).map(({ mac }) => mac);
  if (macs.includes(null) || new Set(macs).size < macs.length)
    throw refusal("protocol", "offer.domain: two of its network cards cannot be told apart");
}

/** What is mirrored is what the definition has at that place, and nothing else comes to lie there. */
function requireMirrors({ files, domain }: Offer, read: ReadDomain): void {
  if (domain?.live === undefined) return;
  const { disks, nvram } = domain.live;
  const present = presentOf(read);
  const written = present.disks.filter(({ path, readOnly }) => path !== null && !readOnly);
  const fits = (one: (typeof disks)[number]) =>
    written.some(({ target, path }) => target === one.target && path === one.name);
  if (disks.length !== written.length || !disks.every(fits))
    throw refusal("protocol", "offer.domain: it has other disks than are to be mirrored");
  if ((nvram?.name ?? null) !== present.firmware.nvram)
    throw refusal("protocol", "offer.domain: it has another NVRAM than is to come with its memory");
  const names = [...files, ...disks, ...(nvram === undefined ? [] : [nvram])].map(({ name }) => name);
  if (new Set(names).size < names.length || names.some((name) => ownNames.includes(name)))
    throw refusal("protocol", "offer.domain: two of its files would lie in one place");
}

/** What is behind each card here, in the order of the cards. Pure. */
export function cardsOf({ cards }: Domain, netMap: NetMap): CardPlace[] {
  return cards.map((card) => {
    const place = cardPlaceOf(netMap, card);
    return place === "same" ? { kind: "none" } : place;
  });
}

/** The same as ACCEPT tells it: a network of libvirt's is a bridge to whoever is on it. Pure. */
export function toldCards(
  domain: Pick<OfferedDomain, "defined" | "active">,
  netMap: NetMap,
): NonNullable<MessageBody<"accept">["cards"]> {
  return cardsOf(presentOf(readBoth(domain)), netMap).map(({ kind }) =>
    kind === "network" ? "bridge" : kind,
  );
}

/**
 * The XML for this host's libvirt: the domain with its files in `folder`. If it goes on from a stream, `cutLinks` is to
 * follow. Pure.
 */
export function xmlIn(
  folder: string,
  domain: Domain,
  netMap: NetMap,
  { fromStream }: { fromStream: boolean },
): string {
  const cards = cardsOf(domain, netMap);
  return landedXml(domain, {
    path: (place: Place) => {
      const name = offeredName(domain, place);
      if (name === null) throw new MigrateError("bug", `the domain has no file for its ${place.kind}`);
      return join(folder, name);
    },
    card: (index: number) => cards[index] ?? { kind: "none" },
    cutLater: fromStream,
  });
}
