/**
 * Where QEMU puts the devices of its PCI bus: at the address that they are given, and else in the first slot that is
 * free, in the order in which they are made (hw/pci/pci.c, do_pci_register_device). A guest names its cards by that, so
 * an exported domain says it for each. Reads no clock.
 */
import { element, type XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";

/** Slots that the board itself has: host bridge and ISA bridge with IDE; host bridge and LPC with SATA. */
const taken = { pc: [0, 1], q35: [0, 0x1f] } as const;
const slots = 32;
const busOf = { pc: "pci.0", q35: "pcie.0" } as const;

export class PciPlaces {
  readonly #root: string;
  /** Of each bus by its name: its number in libvirt, and the slots that are in use. */
  readonly #buses = new Map<string, { number: number; used: Set<number> }>();

  constructor(board: "pc" | "q35") {
    this.#root = busOf[board];
    this.#buses.set(this.#root, { number: 0, used: new Set(taken[board]) });
  }

  /** A device that makes a bus of this name; returns the bus's number. */
  addBus(name: string): number {
    const number = this.#buses.size;
    this.#buses.set(name, { number, used: new Set() });
    return number;
  }

  /**
   * The <address> of the next device: `addr` is QEMU's "SLOT[.FUNCTION]" in hexadecimal, `bus` a bus's name. Null if there
   * is no such bus, or no such place on it.
   */
  place(addr?: string, bus: string = this.#root, multifunction = false): XmlElement | null {
    const at = this.#buses.get(bus);
    if (at === undefined) return null;
    const [, slotText, functionText = "0"] =
      /^(?:0x)?([\da-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i.exec(addr ?? "") ?? [];
    if (addr !== undefined && slotText === undefined) return null;
    const free = Array.from({ length: slots }, (_, slot) => slot).find((slot) => !at.used.has(slot));
    const slot = slotText === undefined ? free : Number.parseInt(slotText, 16);
    if (slot === undefined || slot >= slots) return null;
    at.used.add(slot);
    const hex = (number: number, digits: number) => `0x${number.toString(16).padStart(digits, "0")}`;
    return element("address", {
      type: "pci",
      domain: "0x0000",
      bus: hex(at.number, 2),
      slot: hex(slot, 2),
      function: `0x${functionText}`,
      ...(multifunction ? { multifunction: "on" } : {}),
    });
  }

  /** Slots with an address of their own are kept free before those without are given out. */
  reserve(addr: string | undefined, bus: string = this.#root): void {
    const slot = /^(?:0x)?([\da-f]{1,2})/i.exec(addr ?? "")?.[1];
    if (slot !== undefined) this.#buses.get(bus)?.used.add(Number.parseInt(slot, 16));
  }
}
