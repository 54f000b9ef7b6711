/**
 * Where this host's TPM is: the kernel's device with its resource manager (tpm(4) of Linux: /dev/tpmrm0), or what
 * MIGRATE_TPM names: `device:PATH`, or `swtpm:PATH` for the server's unix socket of swtpm(8) (`swtpm socket --server
 * type=unixio,path=PATH`), which takes the same commands. `none` says that there is none.
 */
import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";

export interface TpmPlace {
  kind: "device" | "swtpm";
  /** Absolute. */
  path: string;
}

const managedDevice = "/dev/tpmrm0";

/** Null where this host has none. Throws MigrateError "tpm-unusable" for a MIGRATE_TPM that names no place. */
export function tpmPlace(env: Readonly<Record<string, string | undefined>>): TpmPlace | null {
  const named = env.MIGRATE_TPM;
  if (named === undefined || named === "")
    return existsSync(managedDevice) ? { kind: "device", path: managedDevice } : null;
  if (named === "none") return null;
  const [, kind, path] = /^(device|swtpm):(.+)$/s.exec(named) ?? [];
  if ((kind === "device" || kind === "swtpm") && path !== undefined && isAbsolute(path))
    return { kind, path };
  throw new MigrateError("tpm-unusable", `MIGRATE_TPM is ${printable(named)}, which names no TPM.`, {
    hint: "Give device:PATH or swtpm:PATH with an absolute path, or none.",
  });
}
