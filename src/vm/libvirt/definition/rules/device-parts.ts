/** What most devices have in common: where they are, in which order they boot, their virtio options. Pure. */
import { attributeOf } from "../../xml/xml-element.ts";
import { type ChildRule, type ElementRule, leftOut } from "./grammar.ts";
import { count, hexOrWhole, oneOf, only, onOff } from "./values.ts";

export const address: ElementRule = {
  needs: ["type"],
  attributes: {
    type: oneOf("pci drive virtio-serial ccid usb isa dimm virtio-mmio unassigned"),
    domain: hexOrWhole,
    bus: hexOrWhole,
    slot: hexOrWhole,
    function: hexOrWhole,
    multifunction: onOff,
    controller: count,
    target: count,
    unit: count,
    // A USB device behind hubs is at "2.1.4".
    port: /^(?:0x[\da-fA-F]{1,8}|\d{1,9}(?:\.\d{1,3}){0,3})$/,
    iobase: hexOrWhole,
    irq: hexOrWhole,
    base: hexOrWhole,
  },
};

/** A name that a person gave; libvirt makes all others anew ("Devices", alias). */
const alias: ElementRule = {
  attributes: { name: /^ua-[\w-]{1,128}$/ },
  prepare: (element) => (attributeOf(element, "name")?.startsWith("ua-") ? element : null),
};

/** Options of a virtio device ("Virtio-related options"). */
export const virtio = { iommu: onOff, ats: onOff, packed: onOff, page_per_vq: onOff };

const common: Readonly<Record<string, ChildRule>> = {
  address,
  alias,
  acpi: only({ index: count }),
  seclabel: leftOut,
};

/** The rule of a kind of device. There may be any number, and each has an address and an alias. */
export function device(rule: ElementRule): ElementRule {
  return { ...rule, many: true, children: { ...common, ...rule.children } };
}

export const boot: ElementRule = only({ order: count, loadparm: /^[A-Za-z\d. ]{1,8}$/ });
export const virtioModel = oneOf("virtio virtio-transitional virtio-non-transitional");
