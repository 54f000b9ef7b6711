/** What a command line says of its VM: the model that a destination works from. */
import { describe, expect, test } from "bun:test";
import {
  explainDefinition,
  parseDefinition,
  type QemuDefinition,
} from "../../../../src/vm/qemu/definition/definition.ts";
import { hasDefaultNic } from "../../../../src/vm/qemu/definition/model.ts";
import { q35InJson, virtioPc } from "../../../support/guests/typical-vms.ts";

const parse = (...words: string[]): QemuDefinition => parseDefinition(["qemu-system-x86_64", ...words]);
const drive = (file: string, more = "") => ["-drive", `file=${file},format=raw${more}`];

test("a typical VM is understood", () => {
  const definition = parse(...virtioPc.words);
  expect(definition).toMatchObject({
    name: "web1",
    uuid: "12345678-1234-1234-1234-123456789abc",
    system: "x86_64",
    accel: "tcg",
    machine: "pc",
    cpu: { model: "qemu64", features: ["+ssse3"] },
    ramBytes: 64 * 2 ** 20,
    hasTpm: false,
    tpmSocket: null,
    noDefaults: true,
  });
  expect(definition.files).toEqual([
    {
      ...{ kind: "disk", name: "a.raw", path: "DIR/a.raw", format: "raw", formatIsGuess: false },
      ...{ node: "migrate-disk-0", drive: null },
    },
    {
      ...{ kind: "disk", name: "b.qcow2", path: "DIR/b.qcow2", format: "qcow2", formatIsGuess: false },
      ...{ node: "migrate-disk-1", drive: "two" },
    },
    {
      ...{ kind: "boot", name: "cd.iso", path: "DIR/cd.iso", format: "raw", formatIsGuess: true },
      ...{ node: null, drive: null },
    },
  ]);
});

test("block nodes in JSON keep their names, and what is read-only is no disk", () => {
  expect(
    parse(...q35InJson.words).files.map(({ kind, name, node, drive }) => [kind, name, node, drive]),
  ).toEqual([
    ["boot", "bios.bin", null, "code"],
    ["disk", "vars.fd", "vars", "vars"],
    ["disk", "b.qcow2", "f2", "f2"],
    ["disk", "a.raw", "f3", "f3"],
  ]);
});

describe("what is refused comes with a way out", () => {
  const refusals = (...words: string[]) => explainDefinition(["qemu-system-x86_64", ...words]).refused;

  test("a VM that libvirt runs is called one, and nothing else is said of it", () => {
    const key = "secret,id=masterKey0,format=raw,file=/var/lib/libvirt/qemu/domain-1-web1/master-key.aes";
    const [only, ...more] = refusals("-object", key, "-device", "vfio-pci", "-fda", "a.img");
    expect(only).toStartWith("libvirt runs this VM, and what libvirt runs is not moved behind its back. ");
    expect(only).toContain("migrate send libvirt:NAME");
    expect(more).toEqual([]);
  });

  test.each([
    [["-fda", "a.img"], "-fda is refused: a floppy disk is not moved. Start the VM without it"],
    [["-drive", "if=floppy,file=a.img"], "-drive if=floppy is refused: a floppy disk is not moved."],
    [["-device", "floppy,drive=d"], "-device floppy is refused: a floppy disk is not moved."],
    [["-id", "100"], "-id is refused: QEMU itself does not know it, Proxmox VE's does. Shut the VM down"],
    [
      ["-object", "secret,id=own,data=x"],
      "-object secret is refused: a secret does not leave its host. Start",
    ],
    [
      ["-machine", "pc-i440fx-8.1+pve0"],
      '-machine type is refused: only this host\'s make of QEMU has "pc-i440fx-8.1+pve0". Start the VM with "pc-i440fx-8.1"',
    ],
    [
      ["-machine", "isapc"],
      '-machine type is refused: "isapc" is not among the boards that can be moved; pc,',
    ],
  ])("%j", (words, sentence) => {
    const [only, ...more] = refusals(...words);
    expect(only).toStartWith(sentence);
    expect(more).toEqual([]);
  });

  test("disks that are refused are for one reason, and what stands on them is not for another", () => {
    const disk = (n: number) => [
      ...[
        "-blockdev",
        JSON.stringify({ driver: "host_device", filename: `/dev/sd${n}`, "node-name": `s${n}` }),
      ],
      ...["-blockdev", JSON.stringify({ driver: "raw", file: `s${n}`, "node-name": `f${n}` })],
      ...["-blockdev", JSON.stringify({ driver: "qcow2", file: `f${n}`, "node-name": `q${n}` })],
    ];
    expect(refusals(...disk(1), ...disk(2))).toEqual([
      "-blockdev host_device is refused: only raw and qcow2 in plain files can be moved",
    ]);
  });
});

describe("the accelerator", () => {
  test.each([
    ["qemu-system-x86_64", [], "tcg"],
    ["/usr/bin/qemu-system-x86_64", ["-enable-kvm"], "kvm"],
    ["/usr/libexec/qemu-kvm", [], "kvm"],
    ["kvm", ["-accel", "tcg"], "tcg"],
    ["qemu-system-x86_64", ["-machine", "q35,accel=kvm:tcg"], "kvm"],
    ["qemu-system-x86_64", ["-accel", "tcg", "-accel", "kvm"], "tcg"],
    ["qemu-system-x86_64", ["-accel", "kvm", "-accel", "tcg"], "kvm"],
  ] as const)("of %s %j is %s", (program, words, accel) => {
    expect(parseDefinition([program, ...words]).accel).toBe(accel);
  });
});

describe("the RAM", () => {
  test.each([
    [[], 128 * 2 ** 20],
    [["-m", "512"], 512 * 2 ** 20],
    [["-m", "2G"], 2 ** 31],
    [["-m", "1.5g"], 1.5 * 2 ** 30],
    [["-m", "size=1048577b"], 1048576 + 8192],
    [["-m", "slots=2,maxmem=4G"], 128 * 2 ** 20],
    [["-m", "0"], 128 * 2 ** 20],
  ] as const)("of %j is %d bytes", (words, bytes) => {
    expect(parse(...words).ramBytes).toBe(bytes);
  });
});

describe("files", () => {
  test("of the same name get names of their own, which follow from the command line alone", () => {
    const words = [
      ...drive("/a/disk.raw"),
      ...drive("/b/disk.raw"),
      "-kernel",
      "/c/disk",
      "-initrd",
      "/d/disk",
    ];
    const names = ["disk.raw", "disk-2.raw", "disk", "disk-2"];
    expect(parse(...words).files.map(({ name }) => name)).toEqual(names);
    expect(parse(...words)).toEqual(parse(...words));
  });

  test("without a format have the one that their ending speaks of, and it is called a guess", () => {
    const files = parse("-hda", "/a/x.qcow2", "-hdb", "/a/y.img", "disk.qcow2.bak").files;
    expect(files.map(({ format, formatIsGuess }) => [format, formatIsGuess])).toEqual([
      ["qcow2", true],
      ["raw", true],
      ["raw", true],
    ]);
  });

  test("are disks unless they cannot be written to", () => {
    const kinds = (...words: string[]) => parse(...words).files.map(({ kind }) => kind);
    expect(kinds(...drive("/a"))).toEqual(["disk"]);
    expect(kinds(...drive("/a", ",readonly=on"))).toEqual(["boot"]);
    expect(kinds(...drive("/a", ",read-only=on"))).toEqual(["boot"]);
    expect(kinds(...drive("/a", ",media=cdrom"))).toEqual(["boot"]);
    expect(kinds(...drive("/a", ",media=cdrom,readonly=off"))).toEqual(["disk"]);
    expect(kinds("-kernel", "/a", "-initrd", "/b", "-bios", "/c")).toEqual(["boot", "boot", "boot"]);
    expect(kinds("-drive", "if=ide,media=cdrom")).toEqual([]);
  });

  test("may have commas and colons in their names", () => {
    expect(parse("-drive", "file=/a,,b/c:d,,e,format=raw").files).toMatchObject([
      { name: "c:d,e", path: "/a,b/c:d,e" },
    ]);
    expect(parse("-drive", "file=file:/a/b,format=raw").files[0]?.path).toBe("/a/b");
  });
});

test("a TPM is on the socket that its character device names, wherever that stands", () => {
  const words = ["-tpmdev", "emulator,id=t,chardev=c", "-device", "tpm-tis,tpmdev=t"];
  const definition = parse(...words, "-chardev", "socket,id=c,path=/run/tpm");
  expect(definition).toMatchObject({ hasTpm: true, tpmSocket: "/run/tpm" });
});

test("what QEMU adds by itself is known", () => {
  expect(hasDefaultNic(parse())).toBe(true);
  for (const words of [["-nodefaults"], ["-nic", "none"], ["-netdev", "user,id=n"]]) {
    expect(hasDefaultNic(parse(...words))).toBe(false);
  }
  const serials = (...words: string[]) =>
    parse(...words).parts.filter(({ kind }) => kind === "serial").length;
  expect(serials("-nographic")).toBe(1);
  expect(serials("-nographic", "-nodefaults")).toBe(0);
  expect(serials("-nographic", "-serial", "none")).toBe(0);
  expect(serials("-display", "none")).toBe(0);
});

test("what is left out is said, each thing once", () => {
  const { notes, shownBy } = parse(
    "-vnc",
    ":0",
    "-vnc",
    ":1",
    "-pidfile",
    "/x",
    "-display",
    "none",
    "-monitor",
    "none",
  );
  expect(notes).toEqual(["-pidfile is left out: it is about the process at the source"]);
  // What becomes of it is for the destination to say.
  expect(shownBy).toEqual(["-vnc"]);
});

test("an explanation has every refusal in order, and none that only follows from another", () => {
  const { definition, refused } = explainDefinition([
    ...["qemu-system-x86_64", "-virtfs", "local", "-chardev", "socket,id=c,host=x,port=1"],
    ...["-serial", "chardev:c", "-frobnicate", "yes", "-device", "vfio-pci,host=1"],
  ]);
  expect(definition).toBeNull();
  expect(refused.map((sentence) => sentence.split(" is refused")[0])).toEqual([
    ...["-virtfs", "-chardev host", "-frobnicate", "-device vfio-pci"],
  ]);
  expect(explainDefinition(["qemu-system-x86_64", "-m", "1G"]).refused).toEqual([]);
});
