/**
 * A guest of 512 bytes that is up within a second: a boot sector that says as many lines on its serial line as it is
 * told, then echoes what is typed, and, if it heeds its power button, switches itself off.
 */
import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { modelOf, parseDefinition } from "../../../../src/vm/qemu/definition/definition.ts";

/** What it says, over and over; each line has 30 bytes. */
export const smallLine = "what nobody sees nobody loses\n";
/** What it says once it has said all its lines. */
export const smallUp = "up\n";

/**
 * 16-bit code at 0x7c00: sets the power button's enable bit (PM1_EN, port 0x602 of the PIIX4 as SeaBIOS places it;
 * ACPI 6.4, 4.8.3.1), prints (COM1, port 0x3f8), then waits for the timer, looks at the button (PM1_STS, port 0x600) and
 * goes to S5 (PM1_CNT, port 0x604, SLP_EN), and echoes what has come. Then the two texts, the number of lines (u16) and
 * whether it heeds its button (u8).
 */
const code = Buffer.from(
  "fa31c08ed88ed0bc007cfcba0206b80001efbb907c8b0fe30e49be6f7cace83d003c0a75f8ebf0be8d7cace830003c0a75f8fbf4f606927c01" +
    "7409ba0006edf6c4017511bafd03eca80174e6baf803ece80b00ebefba0406b80020efebd488c4bafd03eca82074fb88e0baf803eec3" +
    Buffer.from(smallLine + smallUp).toString("hex") +
    "000001",
  "hex",
);

export interface SmallWishes {
  lines?: number;
  heeds?: boolean;
  /** More words of QEMU's command line. */
  words?: readonly string[];
}

/** Writes its disk: one MiB, with the code in its first sector. */
export function writeSmallDisk(path: string, { lines = 0, heeds = true }: SmallWishes = {}): void {
  const disk = Buffer.alloc(1 << 20);
  code.copy(disk);
  disk.writeUInt16LE(lines, code.length - 3);
  disk.writeUInt8(heeds ? 1 : 0, code.length - 1);
  disk.writeUInt16LE(0xaa55, 510);
  writeFileSync(path, disk, { mode: 0o600 });
}

/** The command line of its QEMU, but for its monitors. */
export function smallWords(disk: string, { words = [] }: SmallWishes = {}): string[] {
  return [
    ...["qemu-system-x86_64", "-m", "16", "-machine", "pc", "-accel", "tcg", "-nodefaults"],
    ...["-drive", `file=${disk},format=raw,if=virtio`],
    ...(words.includes("-serial") ? [] : ["-serial", "unix:/x/serial,server=on,wait=off"]),
    ...words,
  ];
}

/** Lays the guest in a store, as a VM that arrived there while it ran and whose QEMU has ended. Returns its folder. */
export function laySmallGuest(store: string, name: string, wishes: SmallWishes = {}): string {
  const folder = join(store, name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeSmallDisk(join(folder, "disk.raw"), wishes);
  const manifest = {
    format: "migrate-vm/1",
    name,
    files: [{ kind: "disk", file: "disk.raw", format: "raw" }],
    definition: modelOf(parseDefinition(smallWords("/x/disk.raw", wishes))),
    ownership: {
      state: "owner",
      session: "ab".repeat(16),
      from: "insecure",
      since: "2030-01-31T12:00:00.000Z",
    },
  };
  writeFileSync(join(folder, "vm.json"), JSON.stringify(manifest), { mode: 0o600 });
  return realpathSync(folder);
}
