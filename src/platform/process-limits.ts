/**
 * What this process may use of the system: proc(5), limits; setrlimit(2). Bun raises the number of open files to its
 * hard limit when it starts. Needs nothing that a small address space keeps from loading.
 */
import { readFileSync } from "node:fs";
import { MigrateError } from "../protocol/errors.ts";

export interface ProcessLimits {
  openFiles: number;
  addressSpaceBytes: number;
}

/** Without them no command works: the runtime's own, the journal's, and some for the work. */
const leastOpenFiles = 48;
/** Bun compiles no code in less, and then cannot call the system's functions. */
const leastAddressSpaceBytes = 4 * 1024 ** 3;

/** The limits as they are now; Infinity if there is none. Never throws: what cannot be read is taken for none. */
export function processLimits(read = () => readFileSync("/proc/self/limits", "latin1")): ProcessLimits {
  let text = "";
  try {
    text = read();
  } catch {
    // No /proc: what is missing shows when it is used.
  }
  const soft = (name: string) => {
    const value = new RegExp(`^${name}\\s+(\\d+)`, "m").exec(text)?.[1];
    return value === undefined ? Number.POSITIVE_INFINITY : Number(value);
  };
  return { openFiles: soft("Max open files"), addressSpaceBytes: soft("Max address space") };
}

/** Throws MigrateError "limit" if no command can work within these limits. */
export function requireUsable(limits = processLimits()): void {
  requireOpenFiles(leastOpenFiles, "migrate", limits);
  if (limits.addressSpaceBytes >= leastAddressSpaceBytes) return;
  const [has, needs] = [limits.addressSpaceBytes, leastAddressSpaceBytes].map((bytes) =>
    Math.floor(bytes / 1024),
  );
  throw new MigrateError(
    "limit",
    `this process may have ${has} KiB of address space, and migrate needs ${needs}: most of it is never used as memory`,
    { hint: "Run it with a larger limit: ulimit -v unlimited; LimitAS= of a systemd unit." },
  );
}

/** Throws MigrateError "limit" if this process may not have `needed` files and connections open, as `what` needs. */
export function requireOpenFiles(needed: number, what: string, { openFiles } = processLimits()): void {
  if (openFiles >= needed) return;
  throw new MigrateError(
    "limit",
    `this process may have ${openFiles} files open, and ${what} needs ${needed}`,
    {
      hint: `Run it with a larger limit: ulimit -n ${needed}, which root can raise; LimitNOFILE= of a systemd unit.`,
    },
  );
}
