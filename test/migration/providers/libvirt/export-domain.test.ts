/** From a VM's definition to libvirt's XML: what stays as it is, what is said to be different, and what is refused. */
import { describe, expect, test } from "bun:test";
import { exportDomain } from "../../../../src/migration/providers/libvirt/export/export-domain.ts";
import type { MigrateError } from "../../../../src/protocol/errors.ts";
import { readXml } from "../../../../src/vm/libvirt/xml/read-xml.ts";
import { attributeOf, childOf, type XmlElement } from "../../../../src/vm/libvirt/xml/xml-element.ts";
import { modelOf, parseDefinition } from "../../../../src/vm/qemu/definition/definition.ts";
import { barePc, oldPc, q35InJson, virtioPc } from "../../../support/guests/typical-vms.ts";

const place = {
  name: "web1",
  uuid: "12345678-1234-1234-1234-123456789abc",
  pathOf: (file: string) => `/vms/web1/${file}`,
  net: null,
  cpuMap: null,
  isOldTpm: false,
};

function exported(words: readonly string[], more: Partial<Parameters<typeof exportDomain>[1]> = {}) {
  const model = modelOf(parseDefinition(["qemu-system-x86_64", ...words]));
  const machine = model.machine === "pc" ? "pc-i440fx-7.2" : model.machine;
  const { xml, notes } = exportDomain({ ...model, machine }, { ...place, ...more });
  return { root: readXml(xml), xml, notes };
}

function refusal(words: readonly string[]): MigrateError {
  try {
    exported(words);
  } catch (thrown) {
    return thrown as MigrateError;
  }
  throw new Error("it was exported");
}

const devicesOf = (root: XmlElement, name: string) =>
  childOf(root, "devices")!.children.filter((child) => child.name === name);
const slotOf = (device: XmlElement | undefined) => attributeOf(childOf(device, "address"), "slot");

/** A PC without anything, on which a test puts its own. */
const bare = ["-machine", "pc-i440fx-7.2", "-m", "64", "-nodefaults"];
const q35 = ["-machine", "pc-q35-7.2", "-m", "64", "-nodefaults"];

describe("places in the machine", () => {
  test("are QEMU's: the board's screen and cards first, then -device, then drives of virtio, around those that are given", () => {
    const { root } = exported([
      ...[...bare, "-vga", "std", "-nic", "user,model=rtl8139"],
      ...["-drive", "file=a.raw,format=raw,if=virtio"],
      ...["-device", "virtio-rng-pci", "-device", "virtio-balloon-pci,addr=0x5", "-device", "virtio-rng-pci"],
    ]);
    expect(slotOf(devicesOf(root, "video")[0])).toBe("0x02");
    expect(slotOf(devicesOf(root, "interface")[0])).toBe("0x03");
    expect(devicesOf(root, "rng").map(slotOf)).toEqual(["0x04", "0x06"]);
    expect(slotOf(devicesOf(root, "memballoon")[0])).toBe("0x05");
    expect(slotOf(devicesOf(root, "disk")[0])).toBe("0x07");
  });

  test("behind ports are on the port's bus, and devices that were given as JSON come last", () => {
    const { root } = exported(q35InJson.words);
    const [first, second] = devicesOf(root, "controller").filter((one) => attributeOf(one, "type") === "pci");
    expect([first, second].map((port) => attributeOf(port, "index"))).toEqual(["1", "2"]);
    expect(attributeOf(childOf(devicesOf(root, "disk")[0], "address"), "bus")).toBe("0x01");
    expect(slotOf(devicesOf(root, "video")[0])).toBe("0x01");
    expect(slotOf(devicesOf(root, "interface")[0])).toBe("0x04");
    expect(
      attributeOf(
        devicesOf(root, "controller").find((one) => attributeOf(one, "type") === "usb"),
        "ports",
      ),
    ).toBe("15");
  });

  test("on SATA, IDE and SCSI are those of the board and of the controller", () => {
    const at = (root: XmlElement) =>
      devicesOf(root, "disk").map((disk) => {
        const address = childOf(disk, "address");
        const [bus, unit, target] = ["bus", "unit", "target"].map((key) => attributeOf(address, key));
        return `${attributeOf(childOf(disk, "target"), "bus")} ${bus}.${target}.${unit}`;
      });
    expect(at(exported([...bare, "-hdb", "a.raw", "-drive", "file=b.qcow2,format=qcow2"]).root)).toEqual([
      "ide 0.0.1",
      "ide 0.0.0",
    ]);
    const sata = ["-drive", "file=a.raw,format=raw,if=none,id=d", "-device", "ide-hd,drive=d,bus=ide.3"];
    expect(at(exported([...q35, ...sata]).root)).toEqual(["sata 0.0.3"]);
    const scsi = ["-device", "virtio-scsi-pci,id=s", "-drive", "file=a.raw,format=raw,if=none,id=d"];
    const disk = ["-device", "scsi-hd,drive=d,bus=s.0,scsi-id=4,lun=2"];
    expect(at(exported([...bare, ...scsi, ...disk]).root)).toEqual(["scsi 0.4.2"]);
  });
});

describe("what the guest is", () => {
  test("keeps its MAC addresses, and those that QEMU gives where none is named", () => {
    const { root } = exported([
      ...bare,
      ...["-netdev", "user,id=a", "-device", "e1000,netdev=a"],
      ...["-netdev", "user,id=b", "-device", "virtio-net-pci,netdev=b,mac=52:54:00:12:34:57"],
      ...["-netdev", "user,id=c", "-device", "rtl8139,netdev=c"],
    ]);
    const macs = devicesOf(root, "interface").map((card) => attributeOf(childOf(card, "mac"), "address"));
    expect(macs).toEqual(["52:54:00:12:34:56", "52:54:00:12:34:57", "52:54:00:12:34:58"]);
  });

  test("has the processors as QEMU laid them out, before and since it prefers cores", () => {
    const topology = (machine: string, smp: string) => {
      const { root } = exported(["-machine", machine, "-m", "64", "-nodefaults", "-smp", smp]);
      const found = childOf(childOf(root, "cpu"), "topology");
      return ["sockets", "cores", "threads"].map((key) => attributeOf(found, key)).join(" ");
    };
    expect(topology("pc-q35-7.2", "4")).toBe("1 4 1");
    expect(topology("pc-q35-6.1", "4")).toBe("4 1 1");
    expect(topology("pc-q35-7.2", "8,sockets=2,threads=2")).toBe("2 2 2");
  });

  test("has its processor by QEMU's own words, and the host's own as libvirt has it", () => {
    const { root } = exported([...bare, "-cpu", "qemu64,+ssse3"]);
    const args = childOf(root, "qemu:commandline")!.children.map((arg) => attributeOf(arg, "value"));
    expect(args).toEqual(["-cpu", "qemu64,+ssse3"]);
    const host = exported([...bare, "-accel", "kvm", "-cpu", "host"]).root;
    expect(attributeOf(childOf(host, "cpu"), "mode")).toBe("host-passthrough");
    expect(attributeOf(host, "type")).toBe("kvm");
  });

  test("has its processor in libvirt's words where it has them for all of it", () => {
    const cpuMap = {
      models: new Set(["qemu64"]),
      features: new Map([
        ["pclmulqdq", "pclmuldq"],
        ["svm", "svm"],
      ]),
    };
    const { root, xml } = exported([...bare, "-cpu", "qemu64,+pclmulqdq,svm=off"], { cpuMap });
    const cpu = childOf(root, "cpu");
    expect(childOf(cpu, "model")!.text).toBe("qemu64");
    const features = cpu!.children.filter(({ name }) => name === "feature");
    expect(features.map((feature) => [attributeOf(feature, "policy"), attributeOf(feature, "name")])).toEqual(
      [
        ["require", "pclmuldq"],
        ["disable", "svm"],
      ],
    );
    expect(xml).not.toContain("qemu:");
    for (const words of ["qemu64,+unheard", "Skylake-Server-v4,+svm", "qemu64,model-id=x", "host,pmu=off"]) {
      const { root: other } = exported([...bare, "-accel", "kvm", "-cpu", words], { cpuMap });
      const args = childOf(other, "qemu:commandline")!.children.map((arg) => attributeOf(arg, "value"));
      expect(args).toEqual(["-cpu", words]);
    }
  });

  test("has firmware in flash with what it keeps, and nothing that libvirt would add", () => {
    const { root } = exported(q35InJson.words);
    const os = childOf(root, "os");
    expect(childOf(os, "loader")!.text).toBe("/vms/web1/bios.bin");
    expect(childOf(os, "nvram")!.text).toBe("/vms/web1/vars.fd");
    const { root: empty } = exported(bare);
    expect(attributeOf(devicesOf(empty, "memballoon")[0], "model")).toBe("none");
    expect(attributeOf(devicesOf(empty, "controller")[0], "model")).toBe("none");
    expect(attributeOf(childOf(devicesOf(empty, "video")[0], "model"), "type")).toBe("none");
  });

  test("has cards whose cables are pulled, unless it is said what is behind them", () => {
    const cards = ["-netdev", "user,id=a", "-device", "e1000,netdev=a"];
    const [card] = devicesOf(exported([...bare, ...cards]).root, "interface");
    expect(attributeOf(childOf(card, "link"), "state")).toBe("down");
    const bridged = exported([...bare, ...cards], { net: { kind: "bridge", name: "br0" } });
    const [onBridge] = devicesOf(bridged.root, "interface");
    expect(attributeOf(childOf(onBridge, "source"), "bridge")).toBe("br0");
    expect(childOf(onBridge, "link")).toBeUndefined();
  });
});

describe("what is different", () => {
  test("is a comment in the XML, and two hyphens end none", () => {
    const { xml, notes } = exported(barePc.words);
    expect(notes).toContain(
      "What QEMU adds by itself is left out: the floppy drive, the parallel port, an empty CD drive.",
    );
    for (const note of notes) expect(xml).toContain(`<!-- ${note} -->`);
  });

  test("is refused if the guest would notice, with all of it in the hint", () => {
    expect(refusal(oldPc.words)).toMatchObject({
      code: "policy",
      message: "-device usb-storage cannot be exported: libvirt has no word for it (and 2 more)",
      hint: expect.stringContaining("-numa cannot be exported"),
    });
    for (const [words, message] of [
      [
        ["-device", "virtio-blk-pci,drive=d,logical_block_size=4096"],
        "-device virtio-blk-pci logical_block_size",
      ],
      [["-device", "virtio-blk-pci,drive=d,bus=nowhere"], "its place in the machine is not known"],
      [["-device", "ide-hd,drive=d"], "it does not say which place of the board's it has"],
    ] as const) {
      const { code, message: said } = refusal([
        ...bare,
        "-drive",
        "file=a.raw,format=raw,if=none,id=d",
        ...words,
      ]);
      expect({ code, said }).toEqual({ code: "policy", said: expect.stringContaining(message) });
    }
    expect(refusal(["-machine", "microvm", "-m", "64", "-nodefaults"]).message).toContain("only PCs");
    expect(refusal(virtioPc.words).message).toContain("the serial number of b.qcow2");
  });
});
