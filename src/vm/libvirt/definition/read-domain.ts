/**
 * From a domain's XML to what may leave with it: what the tables allow stays, what is bound to this host is left
 * out with a note, what needs this host is refused by name. The same reader is at both ends. Pure.
 */
import { normalize } from "node:path";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import { readXml } from "../xml/read-xml.ts";
import type { XmlElement } from "../xml/xml-element.ts";
import { type Domain, domainOf } from "./domain.ts";
import { domainRule } from "./rules/domain-rules.ts";
import { Draft, shown } from "./rules/draft.ts";
import { keep } from "./rules/grammar.ts";
import { declareInMetadata } from "./rules/metadata.ts";

export interface DomainReading {
  /** Null if anything is refused. */
  domain: Domain | null;
  /** Everything that is refused, each with a way out. */
  refusals: MigrateError[];
  /** What a person should know before the domain moves, as sentences without a full stop. */
  notes: string[];
}

/** Without these a domain is another one; its disks leave with it. */
const undroppable = new Set(["domain", "name", "uuid", "vcpu", "os", "devices", "disk", "type"]);

/**
 * Reads libvirt's XML of a domain (virsh dumpxml; of a running one the live XML).
 * @param drop names of elements that are to be taken out: among the devices and at the top each of that name, further
 *   in those alone that would be refused.
 * @throws MigrateError "usage" for a name in `drop` that no domain can be without. What the XML says never throws.
 */
export function readDomain(xml: string, { drop = [] }: { drop?: readonly string[] } = {}): DomainReading {
  const needed = drop.find((name) => undroppable.has(name));
  if (needed !== undefined)
    throw new MigrateError("usage", `<${needed}> cannot be dropped`, {
      hint: "Change the domain itself (virsh edit, virsh detach-disk).",
    });
  return read(xml, new Draft({ drop }));
}

/** Reads with a draft of the caller's: at the destination, files have plain names. */
export function read(xml: string, draft: Draft): DomainReading {
  let domain: Domain | null = null;
  const thrown: MigrateError[] = [];
  try {
    const root = readXml(xml);
    const tree = root.name === "domain" ? keep(declareInMetadata(root), domainRule, draft, "<domain>") : null;
    if (root.name !== "domain") draft.refuse(`<${shown(root.name)}>`, "it is not a domain");
    if (tree !== null && draft.refusals.length === 0) {
      domain = domainOf(tree);
      refuseTwins(domain, draft);
    }
  } catch (error) {
    thrown.push(asMigrateError(error));
  }
  const refusals = [...thrown, ...draft.refusals];
  return { domain: refusals.length > 0 ? null : domain, refusals, notes: draft.notes };
}

/** Two disks at one place, or on one file. */
function refuseTwins({ disks, tree }: Domain, draft: Draft): void {
  const targets = new Set<string>();
  const paths = new Set<string>();
  for (const { target, path } of disks) {
    if (targets.has(target)) draft.refuse(`<disk> ${target}`, "another disk has the same target");
    const file = path === null ? null : normalize(path);
    if (file !== null && paths.has(file)) draft.refuse(`<disk> ${target}`, "another disk has the same file");
    targets.add(target);
    if (file !== null) paths.add(file);
  }
  for (const name of ["tpm", "memballoon", "vsock"])
    if (devicesNamed(tree, name) > 1) draft.refuse(`<${name}>`, "a domain has one at most");
}

function devicesNamed(tree: XmlElement, name: string): number {
  const devices = tree.children.find((child) => child.name === "devices");
  return devices?.children.filter((device) => device.name === name).length ?? 0;
}
