/** `migrate attest`: which state other hosts have to prove before a VM goes there, or is taken from there. */
import type { CommandGroup } from "../cli/define-command.ts";

const attest: CommandGroup = {
  name: "migrate attest",
  summary: "record what a host runs, and have it prove that by its TPM",
  commands: {
    record: async () => (await import("./record.ts")).default,
    verify: async () => (await import("./verify.ts")).default,
    check: async () => (await import("./check.ts")).default,
  },
};

export default attest;
