/** The files that a domain's XML names: to put others in their place. Pure. */
import { attributeOf, childOf, withAttributes, withChildren, type XmlElement } from "../xml/xml-element.ts";
import type { Place } from "./domain.ts";

/** The domain with `nameOf` each file in place of its path; an empty drive, and an NVRAM that libvirt is to make, stay. */
export function withFiles(tree: XmlElement, nameOf: (place: Place) => string): XmlElement {
  return withChildren(tree, (part) => {
    if (part.name === "os") return withChildren(part, (child) => bootFile(child, nameOf));
    if (part.name !== "devices") return part;
    return withChildren(part, (device) => (device.name === "disk" ? withDiskFile(device, nameOf) : device));
  });
}

function bootFile(child: XmlElement, nameOf: (place: Place) => string): XmlElement {
  const { name, text } = child;
  if (text === "" || (name !== "nvram" && name !== "kernel" && name !== "initrd")) return child;
  return { ...child, text: nameOf({ kind: name }) };
}

function withDiskFile(disk: XmlElement, nameOf: (place: Place) => string): XmlElement {
  const target = attributeOf(childOf(disk, "target"), "dev")!;
  return withChildren(disk, (child) =>
    child.name === "source" && child.attributes.has("file")
      ? withAttributes(child, { file: nameOf({ kind: "disk", target }) })
      : child,
  );
}
