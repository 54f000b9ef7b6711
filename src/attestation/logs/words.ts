/**
 * What an event of the firmware's log means for a person: one printable, bounded line. It says what the log says; whether
 * the register's value proves that is in `confirmed` of the event. Pure.
 */
import { withoutInvisible } from "../../protocol/printable.ts";
import { guidText, readEfiVariable, readImagePath, readLoadOption, utf16 } from "./efi-structures.ts";
import { eventTypes as ev, eventTypeName } from "./event-types.ts";
import { logLimits } from "./log-limits.ts";

/**
 * The words for an event of this type with this data in this register.
 * Returns at least one character, at most logLimits.wordsChars.
 */
export function eventWords(type: number, data: Buffer, register: number): string {
  return shown(meaning(type, data, register) ?? otherwise(type, data));
}

/** What a log's writer chose, as a person may see it: one line, nothing invisible, an end. */
export function shown(text: string): string {
  // Four times as many, since a run of invisible characters becomes one space.
  const line = withoutInvisible(text.slice(0, logLimits.wordsChars * 4).toWellFormed())
    .replaceAll(/\s+/g, " ")
    .trim();
  const end = line.length > logLimits.wordsChars ? `${line.slice(0, logLimits.wordsChars - 1)}…` : line;
  return end.toWellFormed() || "(nothing that can be shown)";
}

function meaning(type: number, data: Buffer, register: number): string | null {
  switch (type) {
    case ev.EV_EFI_VARIABLE_DRIVER_CONFIG:
    case ev.EV_EFI_VARIABLE_BOOT:
    case ev.EV_EFI_VARIABLE_BOOT2:
    case ev.EV_EFI_VARIABLE_AUTHORITY:
      return variableWords(type, data);
    case ev.EV_EFI_BOOT_SERVICES_APPLICATION:
      return `EFI application: ${readImagePath(data) ?? "without a path"}`;
    case ev.EV_EFI_BOOT_SERVICES_DRIVER:
      return `EFI driver: ${readImagePath(data) ?? "without a path"}`;
    case ev.EV_EFI_RUNTIME_SERVICES_DRIVER:
      return `EFI runtime driver: ${readImagePath(data) ?? "without a path"}`;
    case ev.EV_SEPARATOR:
      return separatorWords(data, register);
    case ev.EV_S_CRTM_VERSION:
      return `firmware's version: ${versionWords(data)}`;
    case ev.EV_S_CRTM_CONTENTS:
      return `the code that measures first: ${blobWords(data)}`;
    case ev.EV_EFI_HCRTM_EVENT:
      return "the hardware's own start of the measurements";
    case ev.EV_EFI_PLATFORM_FIRMWARE_BLOB:
    case ev.EV_EFI_PLATFORM_FIRMWARE_BLOB2:
    case ev.EV_POST_CODE:
    case ev.EV_POST_CODE2:
      return `firmware: ${blobWords(data)}`;
    case ev.EV_NONHOST_CODE:
    case ev.EV_NONHOST_CONFIG:
    case ev.EV_NONHOST_INFO:
      return `another processor of the platform: ${asciiOf(data) || "no name"}`;
    case ev.EV_CPU_MICROCODE:
      return `processor's microcode: ${asciiOf(data) || `${data.length} bytes`}`;
    case ev.EV_EFI_GPT_EVENT:
    case ev.EV_EFI_GPT_EVENT2:
      return "the partition table of the disk that is booted from";
    case ev.EV_EFI_HANDOFF_TABLES:
    case ev.EV_EFI_HANDOFF_TABLES2:
      return "tables that the firmware hands over (ACPI, SMBIOS)";
    case ev.EV_EFI_ACTION:
    case ev.EV_ACTION:
      return `firmware: ${asciiOf(data)}`;
    case ev.EV_OMIT_BOOT_DEVICE_EVENTS:
      return "firmware says that it measures no boot devices";
    case ev.EV_IPL:
      return iplWords(data, register);
    case ev.EV_NO_ACTION:
      return noActionWords(data);
    case ev.EV_EVENT_TAG:
      return tagWords(data);
    default:
      return null;
  }
}

function otherwise(type: number, data: Buffer): string {
  const text = asciiOf(data);
  return `${eventTypeName(type)}: ${text === "" ? `${data.length} bytes` : text}`;
}

const globalVariables = "8BE4DF61-93CA-11D2-AA0D-00E098032B8C";

function variableWords(type: number, data: Buffer): string | null {
  const variable = readEfiVariable(data);
  // Firmware before the profile's 1.03 measures the bare value of a boot variable, and logs that.
  if (variable === null) return type === ev.EV_EFI_VARIABLE_BOOT ? loadOptionWords("boot entry", data) : null;
  const { vendor, name, value } = variable;
  if (type === ev.EV_EFI_VARIABLE_AUTHORITY) return authorityWords(name, value);
  if (vendor === globalVariables && /^Boot[0-9A-F]{4}$/.test(name))
    return loadOptionWords(`boot entry ${name}`, value);
  if (vendor === globalVariables && name === "BootOrder") return `boot order: ${bootOrder(value)}`;
  if (name === "SecureBoot") return `Secure Boot is ${flag(value)}`;
  if (vendor === globalVariables && flagVariables.includes(name)) return `UEFI's ${name} is ${flag(value)}`;
  const named = keyVariables[name] ?? `UEFI variable ${name} of ${vendor}`;
  return value.length === 0 ? `${named}: empty` : `${named}: ${value.length} bytes`;
}

const flagVariables = ["SetupMode", "AuditMode", "DeployedMode"];

/** UEFI Specification 2.10, 32.6: the variables of Secure Boot. */
const keyVariables: Readonly<Record<string, string>> = {
  PK: "Secure Boot's platform key (PK)",
  KEK: "Secure Boot's key exchange keys (KEK)",
  db: "Secure Boot's allowed signers (db)",
  dbx: "Secure Boot's revocations (dbx)",
  dbt: "Secure Boot's time stamp signers (dbt)",
  dbr: "Secure Boot's recovery signers (dbr)",
};

function flag(value: Buffer): string {
  if (value.length !== 1) return "not set";
  return value[0] === 1 ? "on" : value[0] === 0 ? "off" : `${value[0]}`;
}

/** shim writes its own lists so too: SbatLevel, MokListTrusted, Shim, Vendor. */
function authorityWords(name: string, value: Buffer): string {
  const text = /^Sbat/i.test(name) ? `: ${asciiOf(value)}` : `, ${value.length} bytes`;
  return `what allowed a program to boot: an entry of ${name}${text}`;
}

function loadOptionWords(what: string, value: Buffer): string | null {
  const option = readLoadOption(value);
  if (option === null) return null;
  return `${what}: ${option.description}${option.path === null ? "" : ` (${option.path})`}`;
}

function bootOrder(value: Buffer): string {
  const entries: string[] = [];
  for (let at = 0; at + 2 <= value.length && entries.length < 16; at += 2)
    entries.push(value.readUInt16LE(at).toString(16).padStart(4, "0").toUpperCase());
  return `${entries.join(", ")}${value.length > 32 ? ", …" : ""}`;
}

function separatorWords(data: Buffer, register: number): string {
  const value = data.length === 4 ? data.readUInt32LE(0) : undefined;
  if (value === 0 || value === 0xffffffff)
    return `separator: what follows in register ${register} is not the firmware's own`;
  if (value === 1) return "separator that tells of an error: the firmware could not measure";
  return `separator: ${asciiOf(data) || `${data.length} bytes`}`;
}

/** A version is UTF-16 in EDK2, a GUID or ASCII elsewhere. */
function versionWords(data: Buffer): string {
  const wide = utf16(data);
  if (/^[\x20-\x7e]+$/.test(wide)) return wide;
  const text = asciiOf(data);
  if (text !== "") return text;
  if (data.length === 16) return guidText(data);
  return data.length <= 2 ? "none" : `${data.length} bytes`;
}

/** UEFI_PLATFORM_FIRMWARE_BLOB (base, length), the same with a description before it, or words. */
function blobWords(data: Buffer): string {
  const described = data.length > 0 ? data.readUInt8(0) : 0;
  if (data.length === described + 17 && described > 0)
    return `${asciiOf(data.subarray(1, 1 + described)) || "no name"}, ${blobRange(data.subarray(1 + described))}`;
  const text = asciiOf(data);
  if (text !== "") return text;
  return data.length === 16 ? blobRange(data) : `${data.length} bytes`;
}

function blobRange(data: Buffer): string {
  return `${data.readBigUInt64LE(8)} bytes at 0x${data.readBigUInt64LE(0).toString(16)}`;
}

/**
 * What boot loaders measure. GRUB writes "grub_cmd: …", "kernel_cmdline: …" and paths of files; systemd's stub and boot
 * write the command line in UTF-16 (registers 8 and 12); shim writes the name of a list (register 14).
 */
function iplWords(data: Buffer, register: number): string {
  const text = asciiOf(data);
  const [, kind, rest] = /^(grub_cmd|kernel_cmdline|module_cmdline): (.*)$/s.exec(text) ?? [];
  if (kind === "kernel_cmdline") return `kernel command line: ${rest}`;
  if (kind === "module_cmdline") return `boot module: ${rest}`;
  if (kind === "grub_cmd") return `GRUB's command: ${rest}`;
  const wide = utf16(data);
  if (text === "" && /^[\x20-\x7e\n]+$/.test(wide))
    return register === 8 || register === 12 ? `kernel command line: ${wide}` : `boot loader: ${wide}`;
  if (text === "") return `boot loader: ${data.length} bytes`;
  if (register === 9) return `file that the boot loader read: ${text}`;
  return register === 14 ? `shim's list: ${text}` : `boot loader: ${text}`;
}

function noActionWords(data: Buffer): string {
  if (data.subarray(0, 15).toString("latin1") === "StartupLocality")
    return `said, not measured: the first measurement came from locality ${data[16] ?? "?"}`;
  return `said, not measured: ${asciiOf(data.subarray(0, 16)) || `${data.length} bytes`}`;
}

/** TCG_PCClientTaggedEvent; the Linux kernel's EFI stub tags what it measures (drivers/firmware/efi/libstub/efistub.h), systemd-boot its settings. */
function tagWords(data: Buffer): string | null {
  if (data.length < 8) return null;
  const id = data.readUInt32LE(0);
  const rest = data.subarray(8);
  if (id === 0x8f3b22ec) return "initial RAM disk, as the kernel's EFI stub loaded it";
  if (id === 0x8f3b22ed) return `kernel's EFI stub: options ${utf16(rest)}`;
  const wide = utf16(rest);
  const text = asciiOf(rest) || (/^[\x20-\x7e]+$/.test(wide) ? wide : `${rest.length} bytes`);
  return id === 0xf5bc582a ? `boot loader's settings: ${text}` : `tag 0x${id.toString(16)}: ${text}`;
}

/** Text if it is all ASCII, up to its final zero; "" if it is none. */
function asciiOf(data: Buffer): string {
  const head = data.subarray(0, 1024);
  let end = head.length;
  while (end > 0 && head[end - 1] === 0) end--;
  const text = head.subarray(0, end).toString("latin1");
  return /^[\x20-\x7e\n\t]*$/.test(text) ? text : "";
}
