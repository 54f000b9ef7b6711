/** As whom the serve on the other host runs: what a VM needs there, and what the account has. Pure. */
import { MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import type { RemoteLook } from "./remote-look.ts";

export interface RootNeed {
  /** A VM under QEMU, which root confines and runs as a user of its own. */
  qemu: boolean;
  /** A domain of libvirt's, which takes commands of root. */
  libvirt: boolean;
  /** Proofs by that host's TPM, which is root's. */
  attest?: boolean | undefined;
}

/** Where VMs go if neither the address nor that host has said so. */
export const usualStore = "/var/lib/migrate/vms";

export interface SideRights {
  bySudo: boolean;
  /** What the account cannot give and the VM can do without: a sentence. */
  lacks?: string;
}

/**
 * Decides. Root where a VM runs, and where the store is that host's own to choose or not the account's to write; else the
 * account itself. Throws MigrateError "policy" where it must be root and cannot, with a way out.
 */
export function rootFor(
  look: RemoteLook,
  { qemu, libvirt, attest = false, store }: RootNeed & { store: string | undefined },
  place: string,
): SideRights {
  if (look.root === "yes") return { bySudo: false };
  const wanted = libvirt || qemu || attest || store === undefined || !look.writable;
  if (!wanted) return { bySudo: false };
  if (look.root === "sudo") return { bySudo: true };
  const user = printable(look.user);
  const why = look.root === "asks" ? "sudo asks it for a password there" : "it has no sudo there";
  const otherwise = `Let ${user} run sudo there without a password (NOPASSWD), or send to ssh://root@HOST`;
  if (libvirt) {
    throw new MigrateError(
      "policy",
      `libvirt at ${place} takes a domain from root alone, and ${user} is not: ${why}`,
      {
        side: "destination",
        hint: `${otherwise}.`,
      },
    );
  }
  if (!look.writable) {
    const folder = store ?? usualStore;
    throw new MigrateError("policy", `${user} at ${place} may not write ${folder}, and ${why}`, {
      side: "destination",
      hint: `Name a folder that it may write (ssh://${place}/home/…), or: ${otherwise}.`,
    });
  }
  if (!qemu) return { bySudo: false };
  return {
    bySudo: false,
    lacks: `the VM's QEMU runs as ${user} at ${place}, confined less than root confines it: ${why}`,
  };
}
