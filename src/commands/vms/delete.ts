/** `migrate delete`: takes a VM away that lies on this host. */
import { autostartOff, isStartedAtBoot, unitPlace } from "../../migration/operator/autostart/autostart.ts";
import {
  type DeletableVm,
  deleteVm,
  lookAtDeletable,
  removeEmptied,
} from "../../migration/operator/delete-vm.ts";
import { findVm } from "../../migration/operator/find-vm.ts";
import { formatBytes } from "../../terminal/format.ts";
import { confirmed, homeOf, type World } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { toggle } from "../cli/option.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate delete";

export default defineCommand({
  name,
  summary: "delete a VM that lies here, for good",
  about:
    "Deletes the files that the VM's vm.json names, what its TPM keeps, vm.json, and its folder if nothing else is in it; what is, is named and stays. Asks before; in a script --yes is needed. Refused is a VM that runs, that is on its way to or from here, of which another program has a file open, that is not certain to be this host's, or that is a domain of libvirt. Killed on the way, the same command deletes the rest.",
  positionals: { names: ["NAME"], least: 1, about: [nameAbout] },
  options: {
    store: storeOption,
    yes: toggle("Do not ask"),
  },
  examples: [
    [`${name} web1`, "asks, and deletes web1"],
    [`${name} web1 --store /var/lib/vms --yes`, "in a script"],
  ],
  async run({ options, positionals, world, reporter }) {
    const home = homeOf(world);
    const [given = ""] = positionals;
    const folder = folderOf(home, given, options.store);
    if (folder === null) {
      reporter.result(
        { event: "deleted", name: given, bytes: 0, files: [], left: [] },
        `The rest of ${given} is deleted.`,
      );
      return undefined;
    }
    const vm = lookAtDeletable({ home, folder });
    if (!options.yes) {
      for (const line of contentLines(vm)) reporter.aside(line);
      if (!(await confirmed(world, `Delete ${vm.name} (${formatBytes(vm.bytes)}) for good?`))) {
        reporter.result({ event: "kept", name: vm.name, folder }, `${vm.name} stays.`);
        return undefined;
      }
    }
    // Killed in between, the VM is there still, and the same command goes on.
    const unit = await noMoreAtBoot({ name: vm.name, folder }, world.env);
    const { own, others, bytes } = await deleteVm({ home, folder });
    const deleted = own.map((entry) => entry.name);
    const rest =
      others.length === 0 ? "" : ` In ${folder} is left what is not its own: ${others.join(", ")}.`;
    reporter.result(
      { event: "deleted", name: vm.name, folder, bytes, files: deleted, left: others },
      `${vm.name} is deleted: ${formatBytes(bytes)} are free again.${rest}`,
    );
    if (unit !== null) reporter.note(`It is not started at boot any more: ${unit} is removed.`);
    return undefined;
  },
});

/** Removes the unit that starts the VM of this folder, which is gone; returns its path, null if there is none. */
async function noMoreAtBoot(vm: { name: string; folder: string }, env: World["env"]): Promise<string | null> {
  const place = unitPlace(env);
  if (!isStartedAtBoot(vm, place)) return null;
  return (await autostartOff(vm.name, place))?.unit ?? null;
}

/** Null if an empty folder was all that an earlier call had left, and is gone now. Throws as `findVm`. */
function folderOf(home: string, given: string, store: string | undefined): string | null {
  try {
    return findVm({ home, given, store }).folder;
  } catch (thrown) {
    if (removeEmptied(home, given, store) !== null) return null;
    throw thrown;
  }
}

function contentLines({ folder, own, others }: DeletableVm): string[] {
  return [
    `${folder}:`,
    ...own.map(({ name: file, bytes }) => `  ${file}  ${formatBytes(bytes)}`),
    ...others.map((file) => `  ${file}  stays: it is not the VM's`),
  ];
}
