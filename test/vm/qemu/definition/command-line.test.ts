/** The command line that a destination starts: its own files, sockets and network, and the VM's devices. */
import { describe, expect, test } from "bun:test";
import { commandLine, type QemuPlace } from "../../../../src/vm/qemu/definition/command-line.ts";
import { explainDefinition, parseDefinition } from "../../../../src/vm/qemu/definition/definition.ts";
import { testPlace } from "../../../support/guests/qemu-place.ts";
import { barePc, nographicPc, oldPc, q35InJson, virtioPc } from "../../../support/guests/typical-vms.ts";
import { refusalOf } from "../../../support/system/refusals.ts";

const line = (words: readonly string[], changes: Partial<QemuPlace> = {}): string[] =>
  commandLine(parseDefinition(["qemu-system-x86_64", ...words]), testPlace(changes));

/** The values of an option in the command line, in order. */
const valuesOf = (option: string, words: readonly string[], changes: Partial<QemuPlace> = {}): string[] => {
  const command = line(words, changes);
  return command.flatMap((word, at) => (word === option ? [command[at + 1]!] : []));
};

const refusal = (words: readonly string[], changes: Partial<QemuPlace> = {}) =>
  refusalOf(() => line(words, changes));

test("QEMU stands still, waits for the stream, and may do nothing that it does not need", () => {
  expect(line([])).toEqual([
    ...["/usr/bin/qemu-system-x86_64", "-no-user-config"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-display", "none", "-S", "-incoming", "defer", "-qmp", "unix:/run/web1/qmp,server=on,wait=off"],
    ...["-machine", "pc,dump-guest-core=off", "-accel", "tcg"],
  ]);
});

test.each([virtioPc, nographicPc, barePc, q35InJson, oldPc])("$what can be sent on: $#", ({ words }) => {
  for (const net of [{ kind: "user" }, { kind: "none" }] as const) {
    const command = line(words, { net });
    expect(commandLine(parseDefinition(command), testPlace({ net }))).toEqual(command);
  }
});

test("devices, drives and memory stay in the order that they had", () => {
  const words = [
    ...["-device", "virtio-rng-pci", "-object", "iothread,id=io", "-device", "e1000"],
    ...["-drive", "file=/a,format=raw,if=virtio", "-device", "virtio-balloon-pci"],
  ];
  expect(line(words).slice(-10)).toEqual([
    ...["-device", "virtio-rng-pci", "-object", "iothread,id=io", "-device", "e1000", "-drive"],
    "file=/store/web1/a,format=raw,node-name=migrate-disk-0,if=virtio",
    ...["-device", "virtio-balloon-pci"],
  ]);
});

describe("files", () => {
  test("are the destination's, and a qcow2 image opens none below it", () => {
    expect(valuesOf("-drive", ["-drive", "file=/etc/shadow,format=qcow2,if=virtio"])).toEqual([
      "file=/store/web1/shadow,format=qcow2,node-name=migrate-disk-0,backing=,if=virtio",
    ]);
    const [word = ""] = valuesOf("-blockdev", [
      ...["-blockdev", '{"driver":"file","node-name":"p","filename":"/x/b","cache":{"direct":true}}'],
      ...["-blockdev", "driver=qcow2,node-name=f,file=p,discard=unmap,cache.no-flush=on"],
    ]);
    expect(JSON.parse(word)).toEqual({
      ...{ driver: "qcow2", "node-name": "f", "read-only": false, backing: null, discard: "unmap" },
      cache: { "no-flush": true },
      file: { driver: "file", filename: "/store/web1/b", cache: { direct: true } },
    });
  });

  test("are locked there, whatever the source's QEMU did with its own", () => {
    const blockdevs = [
      ...["-blockdev", "driver=file,node-name=p,filename=/x/b,locking=off"],
      ...["-blockdev", "driver=raw,node-name=f,file=p"],
      ...[
        "-blockdev",
        '{"driver":"raw","node-name":"g","file":{"driver":"file","filename":"/c","locking":"off"}}',
      ],
      ...["-drive", "file=/d,format=raw,if=virtio,file.locking=off"],
    ];
    expect(line(blockdevs).join(" ")).not.toContain("locking");
    expect(explainDefinition(["qemu-system-x86_64", ...blockdevs]).notes).toEqual([
      "-blockdev locking=off is left out: the destination locks the images of its VMs",
      "-blockdev file locking=off is left out: the destination locks the images of its VMs",
      "-drive file.locking=off is left out: the destination locks the images of its VMs",
    ]);
  });

  test("may be in a place with commas", () => {
    const file = () => "/a,b/c";
    expect(valuesOf("-drive", ["-hda", "x.img"], { file })[0]).toStartWith("file=/a,,b/c,format=raw,");
    expect(valuesOf("-kernel", ["-kernel", "x"], { file })).toEqual(["/a,b/c"]);
    expect(valuesOf("-qmp", [], { socketFolder: "/a,b" })).toEqual(["unix:/a,,b/qmp,server=on,wait=off"]);
  });
});

describe("character devices", () => {
  const chardev = (value: string) => valuesOf("-chardev", ["-chardev", value]);

  test.each([
    ["socket,id=c,path=/x,server,nowait", "socket,id=c,path=/run/web1/c,server=on,wait=off"],
    ["socket,id=c,path=/x,reconnect=1", "socket,id=c,path=/run/web1/c,server=on,wait=off"],
    ["pty,id=c,mux=on", "socket,id=c,path=/run/web1/c,server=on,wait=off,mux=on"],
    ["file,id=c,path=/etc/x,append=on", "socket,id=c,path=/run/web1/c,server=on,wait=off"],
    ["null,id=c,logfile=/etc/x", "null,id=c,logfile=/run/web1/c.log"],
    ["vc,id=c,width=80", "null,id=c"],
    ["ringbuf,id=c,size=64k", "ringbuf,id=c,size=64k"],
    ["stdio,id=c,logfile=/x", "socket,id=c,path=/run/web1/c,server=on,wait=off,logfile=/run/web1/c.log"],
    // Names that something else has in the run folder.
    ["pty,id=qmp", "socket,id=qmp,path=/run/web1/chardev.qmp,server=on,wait=off"],
    ["pty,id=swtpm", "socket,id=swtpm,path=/run/web1/chardev.swtpm,server=on,wait=off"],
    ["pty,id=migrate-x", "socket,id=migrate-x,path=/run/web1/chardev.migrate-x,server=on,wait=off"],
    ["pty,id=a.raw", "socket,id=a.raw,path=/run/web1/chardev.a.raw,server=on,wait=off"],
  ])("%s becomes %s", (given, made) => {
    expect(chardev(given)).toEqual([made]);
  });

  test("serial lines have sockets of their own, in order, beside those that are named", () => {
    const words = [
      "-serial",
      "stdio",
      "-serial",
      "null",
      "-serial",
      "mon:stdio",
      "-chardev",
      "pty,id=serial0",
    ];
    const command = line(words);
    expect(command.slice(command.indexOf("-chardev"))).toEqual([
      ...[
        "-chardev",
        "socket,id=serial1,path=/run/web1/migrate-serial-0,server=on,wait=off",
        "-serial",
        "chardev:serial1",
      ],
      ...["-serial", "null"],
      ...[
        "-chardev",
        "socket,id=serial2,path=/run/web1/migrate-serial-1,server=on,wait=off",
        "-serial",
        "chardev:serial2",
      ],
      ...["-chardev", "socket,id=serial0,path=/run/web1/serial0,server=on,wait=off"],
    ]);
  });

  test("the TPM's leads to the destination's swtpm", () => {
    const words = ["-chardev", "socket,id=c,path=/x", "-tpmdev", "emulator,id=t,chardev=c"];
    expect(valuesOf("-chardev", words)).toEqual(["socket,id=c,path=/run/web1/swtpm"]);
    expect(refusal(words, { tpmSocket: null })).toMatchObject({ code: "policy" });
  });
});

describe("the accelerator", () => {
  const kvm = ["-machine", "q35,accel=kvm,kernel-irqchip=split", "-cpu", "qemu64"];

  test("is what the VM had, where the destination has it", () => {
    expect(valuesOf("-accel", kvm)).toEqual(["kvm"]);
    expect(valuesOf("-machine", kvm)).toEqual(["q35,kernel-irqchip=split,dump-guest-core=off"]);
    expect(valuesOf("-accel", ["-accel", "tcg,thread=single"], { kvmUsable: false })).toEqual([
      "tcg,thread=single",
    ]);
  });

  test("is tcg in place of kvm only where that is allowed", () => {
    expect(refusal(kvm, { kvmUsable: false }).message).toContain("KVM");
    const emulated = { kvmUsable: false, allowTcg: true, boots: true } as const;
    expect(valuesOf("-accel", kvm, emulated)).toEqual(["tcg"]);
    expect(valuesOf("-machine", kvm, emulated)).toEqual(["q35,dump-guest-core=off"]);
    const host = ["-enable-kvm", "-cpu", "host,migratable=on"];
    expect(refusal(host, emulated).message).toContain("-cpu host");
  });
});

describe("a PC that ran with KVM", () => {
  const without = { kvmUsable: false, allowTcg: true } as const;
  const pc = (machine: string, cpu: string) => ["-machine", `${machine},accel=kvm`, "-cpu", cpu];

  test("is not emulated while it runs: nothing but KVM loads the state of its clock", () => {
    for (const words of [
      pc("pc-q35-5.1", "qemu64"),
      pc("pc-q35-5.2", "qemu64,-kvmclock"),
      pc("q35", "host"),
    ]) {
      const { message, hint } = refusal(words, without);
      expect(message).toContain("kvmclock");
      expect(hint).toContain("send the VM switched off");
    }
  });

  test("is emulated if it has no such clock: it was switched off, and the machine is of QEMU 5.1 or older", () => {
    for (const off of ["-kvmclock", "kvmclock=off"]) {
      expect(valuesOf("-accel", pc("pc-i440fx-4.2", `qemu64,${off}`), without)).toEqual(["tcg"]);
    }
  });
});

describe("a sound card", () => {
  const silence = ["none,id=migrate-silence"];

  test("that has no audiodev gets a silent one, not this host's sound", () => {
    const words = ["-device", "intel-hda", "-device", "hda-duplex,cad=0", "-device", "AC97"];
    expect(valuesOf("-audiodev", words)).toEqual(silence);
    expect(valuesOf("-device", words)).toEqual([
      "intel-hda",
      "hda-duplex,cad=0,audiodev=migrate-silence",
      "AC97,audiodev=migrate-silence",
    ]);
    // And so has the VM that moves on.
    expect(line(line(words).slice(1)).filter((word) => word.includes("silence"))).toHaveLength(3);
    const { notes } = explainDefinition(["qemu-system-x86_64", ...words]);
    expect(notes).toEqual([expect.stringContaining("no sound")]);
  });

  test("that plays and records at the source is silent at the destination, and that is said", () => {
    const words = ["-audiodev", "pa,id=a1,server=unix:/run/pulse", "-device", "ES1370,audiodev=a1"];
    expect(valuesOf("-audiodev", words)).toEqual(["none,id=a1"]);
    const { notes } = explainDefinition(["qemu-system-x86_64", ...words]);
    expect(notes).toEqual(["-audiodev a1: the destination plays and records no sound of a VM"]);
  });
});

test("no core dump of QEMU's has the guest's memory, whatever the source's QEMU did with its own", () => {
  for (const given of ["on", "off"]) {
    expect(valuesOf("-machine", ["-machine", `q35,dump-guest-core=${given}`])).toEqual([
      "q35,dump-guest-core=off",
    ]);
  }
  const { notes } = explainDefinition(["qemu-system-x86_64", "-machine", "q35,dump-guest-core=on"]);
  expect(notes).toEqual([expect.stringContaining("dump-guest-core=on is left out")]);
});
