/**
 * A copy of a VM with a virtual TPM: two VMs with one TPM would be one identity twice, and what is sealed to it would be
 * open to both. So a copy has none of it, and begins with an empty one of its own.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Vm } from "../../../vm/folder/vm-folder.ts";

/**
 * Returns the VM as a copy of it goes: without the state of its TPM. Throws MigrateError "policy" if it has one and the
 * person did not ask for a new one, or if its saved RAM goes along, into which QEMU has put the state.
 */
export function withNewTpm(vm: Vm, asked: boolean): Vm {
  const files = vm.files.filter(({ kind }) => kind !== "tpm");
  if (files.length === vm.files.length) return vm;
  if (!asked) {
    throw new MigrateError(
      "policy",
      `${vm.name} has a virtual TPM: a copy of it would be a second VM with the same identity, and open all that is sealed to it`,
      {
        side: "source",
        hint: "Give --new-tpm: the copy begins with an empty TPM of its own, and opens nothing that was sealed to this one. Or move the VM.",
      },
    );
  }
  if (files.some(({ kind }) => kind === "ram")) {
    throw new MigrateError(
      "policy",
      `The saved RAM of ${vm.name} holds the state of its virtual TPM, which a copy with a new TPM does not get`,
      {
        side: "source",
        hint:
          vm.folder === undefined
            ? "Leave out --ram: the copy starts as after a power cut."
            : "Give --without-ram: the copy starts as after a power cut.",
      },
    );
  }
  if (files.length === 0) {
    throw new MigrateError("policy", `Nothing of ${vm.name} is left to copy but its virtual TPM`, {
      side: "source",
      hint: "Name its disks as well.",
    });
  }
  return { ...vm, files };
}
