/** `migrate stop`: ends a VM that runs on this host, unless a move has it. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import { type Ended, type EndOptions, endVm } from "../providers/qemu/booting/end-vm.ts";
import { ownedBy } from "./start.ts";

/**
 * Ends the VM of that name and folder. Throws MigrateError "vm-busy" if it is on its way here or from here, and as
 * `endVm` does.
 */
export async function stopVm(options: EndOptions): Promise<Ended> {
  const home = openHome(options.home);
  const journal = Journal.open(home);
  try {
    requireAtRest(journal, options);
  } finally {
    journal.close();
  }
  return await endVm({ ...options, home });
}

/**
 * Throws MigrateError "vm-busy" if a session of the VM has not ended: one of its name, or one under another name that has a
 * file of it. A copy leaves the VM as it is.
 */
function requireAtRest(journal: Journal, { name, folder }: Pick<EndOptions, "name" | "folder">): void {
  const hasItsFiles = ownedBy(readdirSync(folder).map((file) => join(folder, file)));
  const isIts = (record: SessionRecord) =>
    record.name === name || (record.side === "source" && hasItsFiles(record));
  const moving = journal.open().find((record) => record.mode === "move" && holds(record) && isIts(record));
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
