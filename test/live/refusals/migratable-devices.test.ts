/** The devices that a VM may bring along, asked of QEMU: all of them can be migrated, and those that are refused cannot. */
import { expect, test } from "bun:test";
import { drivers, unmigratable } from "../../../src/vm/qemu/definition/device-rules.ts";
import { runChild } from "../../support/system/child.ts";

/** What devices hang on. */
const around = [
  ...["-blockdev", "null-co,node-name=d0", "-netdev", "user,id=n0", "-chardev", "null,id=c0"],
  ...["-audiodev", "none,id=a0", "-device", "qemu-xhci", "-device", "virtio-scsi-pci"],
  ...["-device", "virtio-serial-pci", "-device", "intel-hda", "-object", "rng-builtin,id=r0"],
];
const given: Readonly<Record<string, string>> = {
  drive: "d0",
  netdev: "n0",
  chardev: "c0",
  audiodev: "a0",
  rng: "r0",
  serial: "x",
};

/** What QEMU says where it was told to take only devices that can be migrated (-only-migratable). */
async function answerTo(driver: string): Promise<string> {
  const help = await runChild(["sh", "-c", `qemu-system-x86_64 -device ${driver},help || true`]);
  const properties = Object.entries(given).filter(([key]) => help.includes(`\n  ${key}=`));
  const device = [driver, ...properties.map(([key, value]) => `${key}=${value}`)].join(",");
  const qemu = [
    ...["qemu-system-x86_64", "-only-migratable", "-machine", "q35", "-accel", "tcg", "-nodefaults"],
    ...["-display", "none", "-S", ...around, "-device", device, "-monitor", "stdio"],
  ];
  return await runChild(["sh", "-c", 'echo quit | "$@" 2>&1 || true', "sh", ...qemu]);
}

const refusesIt = (answer: string) => answer.includes("is not migratable");

test("what is refused as a device that QEMU cannot migrate is refused by QEMU as well", async () => {
  // A namespace needs its controller, which is refused, and a subsystem is nothing without both.
  const alone = Object.keys(unmigratable).filter((driver) => !/^nvme-/.test(driver));
  const taken: string[] = [];
  for (const driver of alone) if (!refusesIt(await answerTo(driver))) taken.push(driver);
  expect(taken).toEqual([]);
});

test("no device that a VM may bring along is one that QEMU cannot migrate", async () => {
  const refused: string[] = [];
  for (const driver of drivers) if (refusesIt(await answerTo(driver))) refused.push(driver);
  expect(refused).toEqual([]);
});
