/** <metadata>: what other programs have noted with a domain. It stays as it is, up to a size, whatever it says. Pure. */

import { writeXml } from "../../xml/write-xml.ts";
import type { XmlElement } from "../../xml/xml-element.ts";
import type { Draft } from "./draft.ts";
import { wayOut } from "./grammar.ts";

const mostBytes = 64 * 1024;

/** The element as it travels: each part declares the prefixes that it uses. `outer` are the elements around it. */
export function keepMetadata(metadata: XmlElement, draft: Draft): XmlElement | null {
  const children = metadata.children.filter((child) => {
    if (!isMixed(child)) return true;
    draft.note(`<${metadata.name}> has text between elements: that part is left out`);
    return false;
  });
  const kept = { name: metadata.name, attributes: new Map<string, string>(), children, text: "" };
  if (Buffer.byteLength(writeXml(kept)) > mostBytes)
    return draft.refuse("<metadata>", `it has more than ${mostBytes / 1024} KiB`, wayOut("metadata"));
  return kept;
}

function isMixed({ children, text }: XmlElement): boolean {
  return (children.length > 0 && text !== "") || children.some(isMixed);
}

/** The domain with each declaration of a prefix at the part of the metadata that needs it, and nowhere else. */
export function declareInMetadata(domain: XmlElement): XmlElement {
  const children = domain.children.map((child) => {
    if (child.name !== "metadata") return child;
    const outer = new Map([...declarations(domain), ...declarations(child)]);
    return { ...child, attributes: new Map(), children: child.children.map((part) => declare(part, outer)) };
  });
  const attributes = new Map([...domain.attributes].filter(([name]) => !name.startsWith("xmlns:")));
  return { ...domain, attributes, children };
}

function declarations({ attributes }: XmlElement): [string, string][] {
  return [...attributes].filter(([name]) => name.startsWith("xmlns:"));
}

function declare(part: XmlElement, outer: ReadonlyMap<string, string>): XmlElement {
  const missing = [...prefixes(part)]
    .map((prefix) => `xmlns:${prefix}`)
    .filter((name) => outer.has(name) && !part.attributes.has(name));
  return {
    ...part,
    attributes: new Map([...missing.map((name) => [name, outer.get(name)!] as const), ...part.attributes]),
  };
}

function prefixes(part: XmlElement, found = new Set<string>()): Set<string> {
  for (const name of [part.name, ...part.attributes.keys()])
    if (name.includes(":") && !/^xml(?:ns)?:/.test(name)) found.add(name.slice(0, name.indexOf(":")));
  for (const child of part.children) prefixes(child, found);
  return found;
}
