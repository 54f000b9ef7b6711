/** What events mean for a person, and that nothing in them reaches a terminal as it is. */
import { describe, expect, test } from "bun:test";
import { eventTypes as ev } from "../../../src/attestation/logs/event-types.ts";
import { logLimits } from "../../../src/attestation/logs/log-limits.ts";
import { eventWords } from "../../../src/attestation/logs/words.ts";
import {
  efiVariable,
  globalVariables,
  imageLoad,
  u16,
  u32,
  u64,
} from "../../support/attestation/made-logs.ts";

const wide = (text: string) => Buffer.from(text, "utf16le");
const ascii = (text: string) => Buffer.from(text, "latin1");
const config = ev.EV_EFI_VARIABLE_DRIVER_CONFIG;
const imageSecurity = Buffer.from("cbb219d73a3d9645a3bcdad00e67656f", "hex");

/** EFI_LOAD_OPTION of a file on a partition. */
const partition = Buffer.concat([Buffer.from([4, 1]), u16(42), Buffer.alloc(38)]);
const filePath = (path: string) => {
  const name = wide(`${path}\0`);
  return Buffer.concat([Buffer.from([4, 4]), u16(4 + name.length), name]);
};
const end = Buffer.from([0x7f, 0xff, 4, 0]);
const devicePath = Buffer.concat([partition, filePath("\\EFI\\debian\\shimx64.efi"), end]);
const loadOption = Buffer.concat([u32(1), u16(devicePath.length), wide("debian\0"), devicePath]);

describe("an event means", () => {
  test.each<[string, number, number, Buffer]>([
    ["Secure Boot is on", config, 7, efiVariable("SecureBoot", Buffer.from([1]))],
    ["Secure Boot is off", config, 7, efiVariable("SecureBoot", Buffer.from([0]))],
    ["Secure Boot is not set", config, 7, efiVariable("SecureBoot", Buffer.alloc(0))],
    ["UEFI's SetupMode is on", config, 1, efiVariable("SetupMode", Buffer.from([1]))],
    ["Secure Boot's platform key (PK): empty", config, 7, efiVariable("PK", Buffer.alloc(0))],
    [
      "Secure Boot's revocations (dbx): 76 bytes",
      config,
      7,
      efiVariable("dbx", Buffer.alloc(76), imageSecurity),
    ],
    [
      "UEFI variable Other of D719B2CB-3D3A-4596-A3BC-DAD00E67656F: 3 bytes",
      config,
      1,
      efiVariable("Other", Buffer.alloc(3), imageSecurity),
    ],
    [
      "what allowed a program to boot: an entry of db, 1572 bytes",
      ev.EV_EFI_VARIABLE_AUTHORITY,
      7,
      efiVariable("db", Buffer.alloc(1572), imageSecurity),
    ],
    [
      "boot order: 0003, 0000",
      ev.EV_EFI_VARIABLE_BOOT,
      1,
      efiVariable("BootOrder", Buffer.from([3, 0, 0, 0])),
    ],
    [
      "boot entry Boot0003: debian (\\EFI\\debian\\shimx64.efi)",
      ev.EV_EFI_VARIABLE_BOOT2,
      1,
      efiVariable("Boot0003", loadOption),
    ],
    ["boot entry: debian (\\EFI\\debian\\shimx64.efi)", ev.EV_EFI_VARIABLE_BOOT, 1, loadOption],
    [
      "EFI application: \\EFI\\debian\\shimx64.efi",
      ev.EV_EFI_BOOT_SERVICES_APPLICATION,
      4,
      imageLoad("\\EFI\\debian\\shimx64.efi"),
    ],
    ["EFI application: without a path", ev.EV_EFI_BOOT_SERVICES_APPLICATION, 4, Buffer.alloc(32)],
    [
      "EFI driver: an option ROM",
      ev.EV_EFI_BOOT_SERVICES_DRIVER,
      2,
      Buffer.concat([u64(0), u64(1), u64(0), u64(24), Buffer.from([4, 8]), u16(20), Buffer.alloc(16), end]),
    ],
    ["separator: what follows in register 4 is not the firmware's own", ev.EV_SEPARATOR, 4, u32(0)],
    ["separator: what follows in register 4 is not the firmware's own", ev.EV_SEPARATOR, 4, u32(0xffffffff)],
    ["separator that tells of an error: the firmware could not measure", ev.EV_SEPARATOR, 7, u32(1)],
    ["firmware's version: 2022.11-6", ev.EV_S_CRTM_VERSION, 0, wide("2022.11-6\0")],
    ["firmware's version: 1.2", ev.EV_S_CRTM_VERSION, 0, ascii("1.2\0")],
    [
      "firmware: 65536 bytes at 0xff000000",
      ev.EV_EFI_PLATFORM_FIRMWARE_BLOB,
      0,
      Buffer.concat([u64(0xff000000), u64(65536)]),
    ],
    [
      "firmware: DXE, 16 bytes at 0x1000",
      ev.EV_EFI_PLATFORM_FIRMWARE_BLOB2,
      0,
      Buffer.concat([Buffer.from([3]), ascii("DXE"), u64(0x1000), u64(16)]),
    ],
    ["firmware: ACPI DATA", ev.EV_POST_CODE, 0, ascii("ACPI DATA")],
    ["firmware: Exit Boot Services Invocation", ev.EV_EFI_ACTION, 5, ascii("Exit Boot Services Invocation")],
    [
      "kernel command line: /vmlinuz root=/dev/sda1",
      ev.EV_IPL,
      8,
      ascii("kernel_cmdline: /vmlinuz root=/dev/sda1\0"),
    ],
    ["GRUB's command: linux /vmlinuz", ev.EV_IPL, 8, ascii("grub_cmd: linux /vmlinuz\0")],
    ["boot module: /xen.cfg", ev.EV_IPL, 8, ascii("module_cmdline: /xen.cfg\0")],
    ["file that the boot loader read: /boot/grub/grub.cfg", ev.EV_IPL, 9, ascii("/boot/grub/grub.cfg\0")],
    ["kernel command line: root=/dev/sda1 quiet", ev.EV_IPL, 12, wide("root=/dev/sda1 quiet\0")],
    ["shim's list: MokListTrusted", ev.EV_IPL, 14, ascii("MokListTrusted\0")],
    [
      "kernel's EFI stub: options root=/dev/sda1",
      ev.EV_EVENT_TAG,
      9,
      Buffer.concat([u32(0x8f3b22ed), u32(28), wide("root=/dev/sda1")]),
    ],
    [
      "said, not measured: the first measurement came from locality 3",
      ev.EV_NO_ACTION,
      0,
      ascii("StartupLocality\0\x03"),
    ],
    [
      "boot loader's settings: loader.conf",
      ev.EV_EVENT_TAG,
      5,
      Buffer.concat([u32(0xf5bc582a), u32(24), wide("loader.conf\0")]),
    ],
    ["tag 0x1: some text", ev.EV_EVENT_TAG, 5, Buffer.concat([u32(1), u32(9), ascii("some text")])],
    ["the partition table of the disk that is booted from", ev.EV_EFI_GPT_EVENT, 5, Buffer.alloc(92)],
    ["type 0x7fffffff: 2 bytes", 0x7fffffff, 3, Buffer.from([0xff, 0xfe])],
  ])("%s", (words, type, register, data) => {
    expect(eventWords(type, data, register)).toBe(words);
  });
});

describe("whatever an event holds, its words", () => {
  test.each<[string, number, Buffer]>([
    ["escape sequences", config, efiVariable("\x1b[2JSecure\u202eBoot", Buffer.from([1]))],
    ["lines", ev.EV_EFI_BOOT_SERVICES_APPLICATION, imageLoad("\\a\nboot allowed\r\\b")],
    ["half a surrogate pair", config, efiVariable("a\ud800b", Buffer.from([1]), globalVariables)],
    ["no end", ev.EV_IPL, ascii(`kernel_cmdline: ${"x".repeat(100_000)}\0`)],
    [
      "pairs where they are cut",
      ev.EV_EFI_BOOT_SERVICES_APPLICATION,
      imageLoad(`a${"\u{1f600}".repeat(300)}`),
    ],
    ["nothing", ev.EV_EFI_ACTION, Buffer.alloc(0)],
  ])("are one printable line of bounded length: %s", (_, type, data) => {
    const words = eventWords(type, data, 7);
    expect(words).toMatch(/^[^\p{C}\p{Zl}\p{Zp}\s](?:[^\p{C}\p{Zl}\p{Zp}\n]*)$/u);
    expect(words.length).toBeLessThanOrEqual(logLimits.wordsChars);
    expect(words.isWellFormed()).toBe(true);
  });

  test("are those of a variable only if its lengths fit", () => {
    const variable = efiVariable("SecureBoot", Buffer.from([1]));
    expect(eventWords(config, variable.subarray(0, -1), 7)).not.toContain("Secure Boot");
    variable.writeBigUInt64LE(2n ** 63n, 16);
    expect(eventWords(config, variable, 7)).toStartWith("EV_EFI_VARIABLE_DRIVER_CONFIG: ");
  });

  test("are of no path that never ends", () => {
    const image = imageLoad("\\a");
    image.writeUInt16LE(0, 34);
    expect(eventWords(ev.EV_EFI_BOOT_SERVICES_APPLICATION, image, 4)).toBe("EFI application: without a path");
  });
});
