/** `migrate stop`: ends a VM that runs on this host, unless a move has it. */
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import { type Ended, type EndOptions, endVm } from "../providers/qemu/booting/end-vm.ts";

/**
 * Ends the VM of that name and folder. Throws MigrateError "vm-busy" if it is on its way here or from here, and as
 * `endVm` does.
 */
export async function stopVm(options: EndOptions): Promise<Ended> {
  const home = openHome(options.home);
  const journal = Journal.open(home);
  try {
    requireAtRest(journal, options.name);
  } finally {
    journal.close();
  }
  return await endVm({ ...options, home });
}

/** Throws MigrateError "vm-busy" if a session of a VM of that name has not ended: a copy leaves the VM as it is. */
export function requireAtRest(journal: Journal, name: string): void {
  const moving = journal
    .open()
    .find((record) => record.name === name && record.mode === "move" && holds(record));
  if (moving === undefined) return;
  const { side, session, address } = moving;
  const way = side === "source" ? `is being sent to ${address}` : "is still on its way to this host";
  throw new MigrateError("vm-busy", `${name} ${way}`, {
    hint: `migrate status shows how far it is; migrate resolve ${session.slice(0, 12)} --cancel gives it up, while it can be given up`,
  });
}

function holds({ state }: SessionRecord): boolean {
  return state !== "cancelled";
}
