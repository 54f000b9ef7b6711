/** Types of events, by TCG PC Client Platform Firmware Profile 1.05, 10.4.1, tables 27 and 28. Pure. */

export const eventTypes = {
  EV_PREBOOT_CERT: 0x0,
  EV_POST_CODE: 0x1,
  EV_UNUSED: 0x2,
  EV_NO_ACTION: 0x3,
  EV_SEPARATOR: 0x4,
  EV_ACTION: 0x5,
  EV_EVENT_TAG: 0x6,
  EV_S_CRTM_CONTENTS: 0x7,
  EV_S_CRTM_VERSION: 0x8,
  EV_CPU_MICROCODE: 0x9,
  EV_PLATFORM_CONFIG_FLAGS: 0xa,
  EV_TABLE_OF_DEVICES: 0xb,
  EV_COMPACT_HASH: 0xc,
  EV_IPL: 0xd,
  EV_IPL_PARTITION_DATA: 0xe,
  EV_NONHOST_CODE: 0xf,
  EV_NONHOST_CONFIG: 0x10,
  EV_NONHOST_INFO: 0x11,
  EV_OMIT_BOOT_DEVICE_EVENTS: 0x12,
  EV_POST_CODE2: 0x13,
  EV_EFI_VARIABLE_DRIVER_CONFIG: 0x80000001,
  EV_EFI_VARIABLE_BOOT: 0x80000002,
  EV_EFI_BOOT_SERVICES_APPLICATION: 0x80000003,
  EV_EFI_BOOT_SERVICES_DRIVER: 0x80000004,
  EV_EFI_RUNTIME_SERVICES_DRIVER: 0x80000005,
  EV_EFI_GPT_EVENT: 0x80000006,
  EV_EFI_ACTION: 0x80000007,
  EV_EFI_PLATFORM_FIRMWARE_BLOB: 0x80000008,
  EV_EFI_HANDOFF_TABLES: 0x80000009,
  EV_EFI_PLATFORM_FIRMWARE_BLOB2: 0x8000000a,
  EV_EFI_HANDOFF_TABLES2: 0x8000000b,
  EV_EFI_VARIABLE_BOOT2: 0x8000000c,
  EV_EFI_GPT_EVENT2: 0x8000000d,
  EV_EFI_HCRTM_EVENT: 0x80000010,
  EV_EFI_VARIABLE_AUTHORITY: 0x800000e0,
  EV_EFI_SPDM_FIRMWARE_BLOB: 0x800000e1,
  EV_EFI_SPDM_FIRMWARE_CONFIG: 0x800000e2,
} as const;

export type EventTypeName = keyof typeof eventTypes;

const byNumber = new Map<number, EventTypeName>(
  (Object.entries(eventTypes) as [EventTypeName, number][]).map(([name, number]) => [number, name]),
);

/** The name of a type; its number in hex where it has none here. */
export function eventTypeName(type: number): string {
  return byNumber.get(type) ?? `type 0x${type.toString(16)}`;
}

/** What a log says was measured. `words` and `data` are the log's own claim unless `confirmed`. */
export interface MeasuredEvent {
  /** From 0: its place in the log. */
  index: number;
  register: number;
  type: number;
  /** Lower-case hex, by bank; those of algorithms that are not known here are left out. */
  digests: Readonly<Partial<Record<string, string>>>;
  /** What the log has beside the digest: a view of the log's bytes. */
  data: Buffer;
  /** Whether it was extended into its register at all (EV_NO_ACTION is not). */
  extended: boolean;
  /** Whether `data` is what the digest is of, so that the register's value proves it. */
  confirmed: boolean;
  /** What it means for a person, one printable line of at most 300 characters; it says so if the log lies. */
  words: string;
}
