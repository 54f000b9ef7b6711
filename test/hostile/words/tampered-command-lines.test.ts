/**
 * Command lines that were tampered with at random: what is not refused names nothing of the destination
 * but what the destination chose.
 */
import { expect, test } from "bun:test";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { printable } from "../../../src/protocol/printable.ts";
import { commandLine } from "../../../src/vm/qemu/definition/command-line.ts";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { readModel } from "../../../src/vm/qemu/definition/schema.ts";
import { runFolder, storeFolder, testPlace, wireModelOf } from "../../support/guests/qemu-place.ts";
import { hostileTokens } from "../../support/hostile/tokens.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";

const program = "qemu-system-x86_64";

/** Where a word may have a slash: free text for the guest, and addresses of QEMU's own network. */
const freeText = new Set(["-append", "-smbios"]);

/** Paths in the command line that the destination did not choose. */
function foreignPaths(words: readonly string[], binary: string): string[] {
  return words.flatMap((word, at) => {
    if (word === binary || freeText.has(words[at - 1] ?? "")) return [];
    const rest = word
      .replaceAll(new RegExp(`(?<![^=:"])(?:${storeFolder}|${runFolder})/[^/]*?(?=[,"]|$)`, "g"), "")
      .replaceAll(/(?<==)\/dev\/u?random(?=,|$)/g, "")
      .replaceAll(/(?<==)[\da-fA-F.:]+\/[\da-fA-F.:]+(?=,|$)/g, "");
    return rest.includes("/") ? [word] : [];
  });
}

const seeds: readonly (readonly string[])[] = [
  [
    ...[program, "-name", "guest=web1,debug-threads=on", "-machine", "q35,accel=kvm,usb=off", "-cpu", "host"],
    ...["-m", "2G", "-smp", "2,sockets=1", "-nodefaults", "-display", "none"],
    ...["-drive", "file=/srv/a.qcow2,if=virtio,format=qcow2,cache=none", "-cdrom", "/iso/x.iso"],
    ...["-blockdev", '{"driver":"file","filename":"/srv/b.raw","node-name":"s1","cache":{"direct":true}}'],
    ...["-blockdev", '{"node-name":"f1","driver":"qcow2","file":"s1","backing":null}'],
    ...["-device", '{"driver":"virtio-blk-pci","drive":"f1","id":"d1","bootindex":1,"write-cache":"on"}'],
    ...["-netdev", "user,id=n0,net=10.0.3.0/24,hostfwd=tcp::22-:22", "-device", "virtio-net-pci,netdev=n0"],
    ...["-chardev", "socket,id=serial,path=/x/serial,server=on,wait=off,logfile=/x/log"],
    ...["-serial", "chardev:serial", "-monitor", "stdio", "-qmp", "unix:/x/qmp,server=on,wait=off"],
    ...["-chardev", "socket,id=t,path=/x/tpm", "-tpmdev", "emulator,id=tpm0,chardev=t"],
    ...["-device", "tpm-tis,tpmdev=tpm0", "-object", "rng-random,id=r,filename=/dev/urandom"],
    ...["-device", "virtio-rng-pci,rng=r", "-object", "memory-backend-ram,id=m,size=2G"],
    ...["-numa", "node,nodeid=0,memdev=m", "-global", "ICH9-LPC.disable_s3=1"],
  ],
  [
    ...[program, "-nographic", "-hda", "disk.img", "-kernel", "vmlinuz", "-initrd", "initrd.gz"],
    ...[
      "-append",
      "root=/dev/sda",
      "-smbios",
      "type=1,serial=ds=nocloud;s=http://x/",
      "-nic",
      "tap,model=e1000",
    ],
    ...["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/CODE.fd", "-vga", "std", "-usb"],
    ...["-usbdevice", "tablet", "-rtc", "base=utc", "-boot", "order=c,menu=on", "-uuid"],
    ...["12345678-1234-1234-1234-123456789abc", "-audiodev", "none,id=a", "-device", "intel-hda"],
    ...["-device", "hda-duplex,audiodev=a", "-bios", "/usr/share/seabios/bios.bin"],
  ],
];

const tokens = [
  ...hostileTokens,
  ...["file=/etc/shadow", "path=/etc/shadow", "filename=/etc/shadow", "driver=file"],
  ...["node-name=migrate-disk-0", "/store/web1/../x"],
];

function mutate(seed: readonly string[], random: SeededRandom): string[] {
  const words = [...seed];
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = 1 + random.below(words.length - 1);
    const word = words[at]!;
    const place = random.below(word.length + 1);
    switch (random.below(8)) {
      case 0:
        words.splice(at, 1);
        break;
      case 1:
        words.splice(at, 0, random.pick(tokens));
        break;
      case 2:
        words[at] = random.pick(tokens);
        break;
      case 3:
        words[at] = word.slice(0, place) + random.pick(tokens) + word.slice(place);
        break;
      case 4:
        words[at] = word.slice(0, place) + random.pick(tokens) + word.slice(place + 1 + random.below(8));
        break;
      case 5:
        words[at] = `${word},${random.pick(tokens)}`;
        break;
      case 6:
        words[at] = random.pick(random.pick(seeds));
        break;
      default:
        words[at] = word.replace(/=[^,]*/, () => `=${random.pick(tokens)}`);
    }
    if (words.length < 2) words.push("-S");
  }
  return words;
}

test("50000 command lines that were tampered with name nothing that the destination did not choose", () => {
  const random = seeded("tampered command lines");
  const place = testPlace();
  const came = { refused: 0, taken: 0 };
  for (let count = 0; count < 50_000; count++) {
    const words = mutate(random.pick(seeds), random);
    let command: string[];
    try {
      command = commandLine(parseDefinition(words), place);
    } catch (thrown) {
      if (!(thrown instanceof MigrateError)) throw thrown;
      expect(["policy", "limit"]).toContain(thrown.code);
      expect(thrown.message).toBe(printable(thrown.message));
      came.refused += 1;
      continue;
    }
    came.taken += 1;
    expect(foreignPaths(command, place.binary)).toEqual([]);
    // What was taken over can be taken over again, and is the same.
    expect(commandLine(parseDefinition(command), place)).toEqual(command);
    // A destination takes over what the source tells of it.
    if (came.taken % 10 === 0) readModel(wireModelOf(words));
  }
  console.log("tampered command lines:", came);
  for (const count of Object.values(came)) expect(count).toBeGreaterThan(2000);
}, 60_000);
