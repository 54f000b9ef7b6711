/**
 * Whether an event's data is what its digest is of. A register's value proves digests; a log may put any words beside a
 * good digest, so words count for something only where this holds. Pure.
 */
import { createHash } from "node:crypto";
import { readEfiVariable } from "./efi-structures.ts";
import { eventTypes as ev } from "./event-types.ts";

/** Types whose digest is of something that the log does not hold: code, tables, a part of a disk. */
const ofSomethingElse: readonly number[] = [
  ev.EV_S_CRTM_CONTENTS,
  ev.EV_EFI_BOOT_SERVICES_APPLICATION,
  ev.EV_EFI_BOOT_SERVICES_DRIVER,
  ev.EV_EFI_RUNTIME_SERVICES_DRIVER,
  ev.EV_EFI_PLATFORM_FIRMWARE_BLOB,
  ev.EV_EFI_PLATFORM_FIRMWARE_BLOB2,
];

/**
 * Types whose digest the profile demands to be of the data (10.4.1): where it is not, the log says what was not measured.
 */
const ofItsData: readonly number[] = [
  ev.EV_SEPARATOR,
  ev.EV_S_CRTM_VERSION,
  ev.EV_EFI_VARIABLE_DRIVER_CONFIG,
  ev.EV_EFI_VARIABLE_BOOT,
  ev.EV_EFI_VARIABLE_BOOT2,
  ev.EV_EFI_VARIABLE_AUTHORITY,
  ev.EV_EFI_ACTION,
  ev.EV_EFI_GPT_EVENT,
];

/** Whether `words` of such an event stand for what was measured; if not, they must not be shown as if they did. */
export function mustBeOfItsData(type: number, data: Buffer): boolean {
  return ofItsData.includes(type) || (type === ev.EV_IPL && grubPrefix(data) > 0);
}

/** True if one of the digests, of the strongest algorithm that there is, is of `data` as that type is measured. */
export function dataOfDigest(
  type: number,
  data: Buffer,
  digests: Readonly<Partial<Record<string, string>>>,
): boolean {
  if (ofSomethingElse.includes(type)) return false;
  const algorithm = (["sha256", "sha384", "sha512"] as const).find((name) => digests[name] !== undefined);
  if (algorithm === undefined) return false;
  return measuredParts(type, data).some(
    (part) => createHash(algorithm).update(part).digest("hex") === digests[algorithm],
  );
}

/** What of the data may have been hashed. */
function measuredParts(type: number, data: Buffer): Buffer[] {
  if (type === ev.EV_EFI_VARIABLE_BOOT) {
    const variable = readEfiVariable(data);
    return variable === null ? [data] : [data, variable.value];
  }
  if (type !== ev.EV_IPL) return [data];
  // GRUB hashes the text behind "kernel_cmdline: " without its final zero (grub-core/kern/verifiers.c, commands/tpm.c).
  const prefix = grubPrefix(data);
  const end = data.length > prefix && data[data.length - 1] === 0 ? data.length - 1 : data.length;
  const text = data.subarray(prefix, end);
  return text.length === data.length ? [data] : [data, text];
}

function grubPrefix(data: Buffer): number {
  const head = data.subarray(0, 32).toString("latin1");
  return /^(?:grub_cmd|kernel_cmdline|module_cmdline): /.exec(head)?.[0].length ?? 0;
}
