/**
 * Announcing where a guest is: switches send its packets to where it was until they hear of it (qapi/net.json,
 * announce-self). QEMU does so by itself when a migration has been loaded, which is before the guest runs there, and
 * never where one was given up.
 */
import * as v from "valibot";
import type { Qmp } from "../qmp/qmp.ts";

/** QEMU's own values for what it announces after a migration (qapi/migration.json, announce-initial and the others). */
const rounds = { initial: 50, max: 550, rounds: 5, step: 100 };

/** The class of network controllers (PCI Code and ID Assignment Specification), in the upper byte. */
const networkClass = 0x02;

interface PciDevice {
  class_info: { class: number };
  pci_bridge?: { devices?: PciDevice[] | undefined } | undefined;
}

const deviceSchema: v.GenericSchema<unknown, PciDevice> = v.object({
  class_info: v.object({ class: v.number() }),
  pci_bridge: v.optional(v.object({ devices: v.optional(v.array(v.lazy(() => deviceSchema))) })),
}) as v.GenericSchema<unknown, PciDevice>;
const busesSchema = v.array(v.object({ devices: v.array(deviceSchema) }));

/** Lets each network card of a guest that runs say where it is, if there is one. Never throws: it runs without. */
export async function announce(qmp: Qmp): Promise<void> {
  try {
    const buses = await qmp.ask(busesSchema, "query-pci");
    if (buses.some(({ devices }) => devices.some(hasCard))) await qmp.execute("announce-self", rounds);
  } catch {
    // Whatever waits for QEMU reports that it is gone; and a switch that is not told learns of it later.
  }
}

function hasCard({ class_info, pci_bridge }: PciDevice): boolean {
  return class_info.class >> 8 === networkClass || (pci_bridge?.devices ?? []).some(hasCard);
}
