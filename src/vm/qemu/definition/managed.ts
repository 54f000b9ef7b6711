/** Who else may run a VM: libvirt has its QEMUs under its own control, and its VMs move by it. Pure. */
import { MigrateError } from "../../../protocol/errors.ts";

/**
 * Whether this is a QEMU that libvirt started: it hands each the key with which it hides other secrets
 * (src/qemu/qemu_command.c); or libvirt itself, which makes the sockets of its QEMUs' monitors for them.
 */
export function isLibvirts(argv: readonly string[]): boolean {
  if (/(?:^|\/)(?:libvirtd|virtqemud)$/.test(argv[0] ?? "")) return true;
  return argv.some((argument, at) => argv[at - 1] === "-object" && libvirtsKey.test(argument));
}

/** In the two forms of the option: JSON, and keys and values. */
const libvirtsKey = /\bmasterKey0\b.*\/master-key\.aes\b/s;

/** Throws MigrateError "policy" if a VM with this command line is another program's to move. */
export function requireUnmanaged(argv: readonly string[]): void {
  if (!isLibvirts(argv)) return;
  throw new MigrateError(
    "policy",
    "libvirt runs this VM, and what libvirt runs is not moved behind its back",
    {
      side: "source",
      hint: "Name the domain instead, and libvirt moves it: migrate send libvirt:NAME (the destination serves with --libvirt).",
    },
  );
}
