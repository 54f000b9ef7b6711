/**
 * Announcing where a guest is: switches send its packets to where it was until they hear of it (qapi/net.json,
 * announce-self). QEMU does so by itself when a migration has been loaded, which is before the guest runs there, and
 * never where one was given up.
 */
import type { Qmp } from "../qmp/qmp.ts";

/** QEMU's own values for what it announces after a migration (qapi/migration.json, announce-initial and the others). */
const rounds = { initial: 50, max: 550, rounds: 5, step: 100 };

/** Lets each network card of a guest that runs say where it is; nothing happens if it has none. Never throws: it runs without. */
export async function announce(qmp: Qmp): Promise<void> {
  try {
    await qmp.execute("announce-self", rounds);
  } catch {
    // Whatever waits for QEMU reports that it is gone; and a switch that is not told learns of it later.
  }
}
