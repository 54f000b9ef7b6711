/**
 * The cookie of a migration: XML in which the two libvirtd tell each other about the domain, four times
 * (src/qemu/qemu_migration_cookie.c). It may hold a whole `<domain>`, graphics to which viewers are sent, data for
 * a switch's port, leases of a lock manager. None of that passes: each cookie is made anew from what a migration
 * with mirrored disks needs. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { printable } from "../../../protocol/printable.ts";
import { readXml } from "../xml/read-xml.ts";
import { writeXml } from "../xml/write-xml.ts";
import { attributeOf, childOf, element, type XmlElement } from "../xml/xml-element.ts";
import { rebuildCpu } from "./cookie-cpu.ts";

/**
 * Which of the four cookies: the source's with PREPARE, the destination's answer to it, the source's with FINISH,
 * the destination's answer to that.
 */
export type CookieStep = "prepare" | "prepared" | "finish" | "finished";

type Part = "feature" | "nbd" | "statistics" | "cpu" | "capabilities";

/** What each cookie may hold besides the names of the domain and of the host. */
const partsOf: Readonly<Record<CookieStep, readonly Part[]>> = {
  prepare: ["feature", "nbd", "cpu", "capabilities"],
  prepared: ["nbd", "capabilities"],
  finish: ["nbd", "statistics"],
  finished: ["statistics"],
};

/**
 * Features which the other end must know, or refuse the cookie. The first are kept; the others belong to what is
 * left out (libvirt says `lockstate` always), and what is none of them is refused by name.
 */
const keptFeatures: readonly string[] = ["memory-hotplug", "cpu-hotplug"];
const leftOutFeatures: readonly string[] = [
  "graphics",
  "lockstate",
  "persistent",
  "network",
  "nbd",
  "statistics",
  "cpu",
  "allowReboot",
  "capabilities",
  "block-dirty-bitmaps",
];

/** VIR_DOMAIN_JOB_* of include/libvirt/libvirt-domain.h, and the four times that the cookie has. */
const statistics: ReadonlySet<string> = new Set([
  "started",
  "stopped",
  "sent",
  "delta",
  "time_elapsed",
  "downtime",
  "setup_time",
  "memory_total",
  "memory_processed",
  "memory_remaining",
  "memory_bps",
  "memory_constant",
  "memory_normal",
  "memory_normal_bytes",
  "memory_dirty_rate",
  "memory_iteration",
  "memory_postcopy_requests",
  "memory_page_size",
  "disk_total",
  "disk_processed",
  "disk_remaining",
  "disk_bps",
  "compression_cache",
  "compression_bytes",
  "compression_pages",
  "compression_cache_misses",
  "compression_overflow",
  "auto_converge_throttle",
]);

const hostName = /^[A-Za-z0-9._:-]{1,255}$/;
const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const unsigned = /^[0-9]{1,19}$/;
const signed = /^-?[0-9]{1,19}$/;
const capability = /^[a-z0-9-]{1,64}$/;
/** QEMU 9 has 25 capabilities of its migration. */
const mostCapabilities = 128;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The domain that a cookie is about. */
export interface CookieDomain {
  name: string;
  /** Lower case, with hyphens. */
  uuid: string;
  /** Targets of the disks that are mirrored. */
  disks: readonly string[];
}

/**
 * The cookie as it may pass.
 * @throws MigrateError "protocol" if it is none, or a value that would be kept is none that libvirt writes;
 *   "policy" if it is about another domain, or wants a feature that is not known.
 */
export function rebuildCookie(cookie: Uint8Array, step: CookieStep, domain: CookieDomain): Uint8Array {
  const root = readCookie(cookie);
  const textOf = (name: string) => childOf(root, name)?.text ?? "";
  if (textOf("name") !== domain.name || textOf("uuid") !== domain.uuid)
    throw new MigrateError("policy", "The cookie of a migration is about another domain");
  const hostname = textOf("hostname");
  const hostuuid = textOf("hostuuid");
  if (!hostName.test(hostname) || !uuidPattern.test(hostuuid))
    throw strange("does not say of which host it is");
  const inner = [
    element("name", {}, domain.name),
    element("uuid", {}, domain.uuid),
    element("hostname", {}, hostname),
    element("hostuuid", {}, hostuuid),
    ...partsOf[step].flatMap((part) => rebuild[part](root, step, domain)),
  ];
  return Buffer.from(`${writeXml(element("qemu-migration", {}, inner))}\0`);
}

/** libvirt counts the NUL at the end as one of the cookie's bytes, and reads up to the first one. */
function readCookie(cookie: Uint8Array): XmlElement {
  if (cookie.indexOf(0) !== cookie.length - 1) throw strange("does not end with its only NUL");
  let root: XmlElement;
  try {
    root = readXml(utf8.decode(cookie.subarray(0, -1)));
  } catch (cause) {
    const why = cause instanceof MigrateError ? cause.message : "it is not UTF-8";
    throw new MigrateError("protocol", `The cookie of a migration is not proper XML: ${why}`, { cause });
  }
  if (root.name !== "qemu-migration") throw strange("is none of QEMU's");
  return root;
}

type Rebuild = (root: XmlElement, step: CookieStep, domain: CookieDomain) => XmlElement[];

const rebuild: Readonly<Record<Part, Rebuild>> = {
  feature: (root) =>
    childrenOf(root, "feature").flatMap((feature) => {
      const name = attributeOf(feature, "name") ?? "";
      if (keptFeatures.includes(name)) return [element("feature", { name })];
      if (leftOutFeatures.includes(name)) return [];
      throw new MigrateError(
        "policy",
        `A migration with libvirt's feature ${printable(name)} is not carried`,
      );
    }),

  nbd: (root, step, { disks }) => {
    const nbd = childOf(root, "nbd");
    if (disks.length === 0) return [];
    if (nbd === undefined) {
      // Whoever leaves it out in FINISH would leave the images open to be written over NBD: libvirt ends its
      // NBD server only if it is told of one (qemuMigrationDstStopNBDServer).
      if (step === "finish") return [element("nbd")];
      throw strange("has no word about the disks that are mirrored");
    }
    const port = numberOf(nbd, "port", 65_535n);
    const targets = childrenOf(nbd, "disk").flatMap((disk) => {
      const target = attributeOf(disk, "target") ?? "";
      const capacity = numberOf(disk, "capacity");
      if (capacity === undefined) throw strange("has a disk without a capacity");
      return disks.includes(target) ? [element("disk", { target, capacity })] : [];
    });
    if (new Set(targets.map((disk) => attributeOf(disk, "target"))).size < targets.length)
      throw strange("has a disk twice");
    return [element("nbd", { port }, targets)];
  },

  statistics: (root) => {
    const told = childOf(root, "statistics");
    if (told === undefined) return [];
    const kept = told.children.filter(({ name }) => statistics.has(name));
    return [
      element(
        "statistics",
        {},
        kept.map(({ name, text }) => {
          if (!(name === "delta" ? signed : unsigned).test(text))
            throw strange("has a count that is no number");
          return element(name, {}, text);
        }),
      ),
    ];
  },

  cpu: (root) => {
    const cpu = childOf(root, "cpu");
    return cpu === undefined ? [] : [rebuildCpu(cpu)];
  },

  // libvirt of the destination compares this with what its QEMU can, and does not look whether it is there.
  capabilities: (root) => {
    const told = childrenOf(childOf(root, "capabilities"), "cap");
    if (told.length > mostCapabilities) throw strange("has too many capabilities");
    const caps = told.map((cap) => {
      const name = attributeOf(cap, "name") ?? "";
      if (!capability.test(name)) throw strange("has a capability without a proper name");
      return element("cap", { name, auto: attributeOf(cap, "auto") === "yes" ? "yes" : "no" });
    });
    return [element("capabilities", {}, caps)];
  },
};

function childrenOf(parent: XmlElement | undefined, name: string): XmlElement[] {
  return parent?.children.filter((child) => child.name === name) ?? [];
}

/** An attribute that is a number from 0 to `largest`; undefined if it is not there. */
function numberOf(owner: XmlElement, name: string, largest = 2n ** 63n - 1n): string | undefined {
  const value = attributeOf(owner, name);
  if (value === undefined) return undefined;
  if (!unsigned.test(value) || BigInt(value) > largest) throw strange(`has a ${name} that is no number`);
  return value;
}

function strange(what: string): MigrateError {
  return new MigrateError("protocol", `The cookie of a migration ${what}`);
}
