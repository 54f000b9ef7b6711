/** What a domain brings along: the facts, what is left out of it with and without a note, and what is dropped. */
import { describe, expect, test } from "bun:test";
import type { Domain } from "../../../../src/vm/libvirt/definition/domain.ts";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { writeXml } from "../../../../src/vm/libvirt/xml/write-xml.ts";
import { diskXml, domainXml, hvm, wholeDomain, wholeDomains } from "../../../support/libvirt/domain-xml.ts";

function accepted(xml: string, drop: string[] = []): { domain: Domain; notes: string[]; written: string } {
  const { domain, refusals, notes } = readDomain(xml, { drop });
  expect(refusals.map(({ message }) => message)).toEqual([]);
  return { domain: domain!, notes, written: writeXml(domain!.tree) };
}

describe("whole domains", () => {
  test("are at least twenty", () => expect(wholeDomains.length).toBeGreaterThanOrEqual(20));

  test.each([...wholeDomains])("%s may be moved", (name) => {
    const { domain, written } = accepted(wholeDomain(name));
    expect(domain.disks.length).toBeGreaterThan(0);
    expect(written).not.toMatch(/<emulator>|<alias|vnet\d|\/dev\/pts|<resource>|seclabel|backingStore/);
  });

  test("what is said of one that runs", () => {
    const { domain } = accepted(wholeDomain("running-uefi-tpm"));
    expect({ ...domain, tree: undefined, cpu: undefined }).toEqual({
      name: "running",
      uuid: "11111111-2222-3333-4444-555555555555",
      type: "qemu",
      arch: "x86_64",
      machine: "pc-q35-7.2",
      memoryBytes: 256 * 1024 ** 2,
      vcpus: 1,
      disks: [
        {
          target: "vda",
          device: "disk",
          path: "/var/lib/libvirt/images/running.qcow2",
          format: "qcow2",
          readOnly: false,
          shareable: false,
        },
      ],
      firmware: {
        loader: "/usr/share/OVMF/OVMF_CODE_4M.fd",
        nvram: "/var/lib/libvirt/qemu/nvram/running_VARS.fd",
        nvramTemplate: "/usr/share/OVMF/OVMF_VARS_4M.fd",
        auto: false,
      },
      kernel: null,
      initrd: null,
      tpm: { version: "2.0" },
      cards: [
        { mac: "52:54:00:aa:bb:01", source: { kind: "none", name: null }, model: "virtio" },
        { mac: "52:54:00:aa:bb:02", source: { kind: "user", name: null }, model: "e1000" },
        { mac: "52:54:00:aa:bb:03", source: { kind: "none", name: null }, model: "virtio" },
      ],
    } as never);
    expect(domain.cpu?.attributes.get("mode")).toBe("custom");
  });

  test("cards and drives of others", () => {
    expect(accepted(wholeDomain("two-networks")).domain.cards.map(({ source }) => source)).toEqual([
      { kind: "network", name: "lan" },
      { kind: "bridge", name: "br-dmz" },
    ]);
    expect(
      accepted(wholeDomain("virt-install-debian")).domain.disks.map(({ target, device, path }) => [
        target,
        device,
        path,
      ]),
    ).toEqual([
      ["vda", "disk", "/var/lib/libvirt/images/debian12.qcow2"],
      ["sda", "cdrom", null],
    ]);
    const { kernel, initrd } = accepted(wholeDomain("direct-kernel")).domain;
    expect([kernel, initrd]).toEqual(["/var/lib/libvirt/boot/vmlinuz", "/var/lib/libvirt/boot/initrd.img"]);
  });
});

test.each([
  ["'b'>1000000", 1_000_000],
  ["'KB'>2000", 2_000_000],
  ["'k'>2000", 2_048_000],
  ["'KiB'>2048", 2 ** 21],
  ["'MB'>3", 3_000_000],
  ["'GiB'>2", 2 ** 31],
  ["'TiB'>1", 2 ** 40],
])("memory of unit=%s", (size, bytes) => {
  expect(accepted(domainXml().replace("'MiB'>256", size)).domain.memoryBytes).toBe(bytes);
});

test("memory is what libvirt gives: cells and devices, whatever is said beside them", () => {
  const cell = "<cell id='0' cpus='0' memory='3' unit='GiB'/><cell id='1' cpus='1' memory='1048576'/>";
  const dimm = "<memory model='dimm'><target><size unit='GiB'>8</size></target></memory>";
  const top = `<cpu><numa>${cell}</numa></cpu>`;
  expect(accepted(domainXml({ top, devices: dimm })).domain.memoryBytes).toBe(12 * 2 ** 30);
  expect(accepted(wholeDomain("memory-hotplug")).domain.memoryBytes).toBe(2_621_440 * 1024);
  const huge = `<cpu><numa><cell id='0' memory='8' unit='PiB'/><cell id='1' memory='8' unit='PiB'/></numa></cpu>`;
  expect(readDomain(domainXml({ top: huge })).refusals.map(({ code }) => code)).toEqual(["policy"]);
});

describe("dropped", () => {
  test("what would be refused, with a note", () => {
    const xml = domainXml({ devices: "<hostdev/><hostdev/><filesystem/><evil/>" });
    const { notes, written } = accepted(xml, ["hostdev", "filesystem", "evil"]);
    expect(notes).toEqual(["hostdev", "filesystem", "evil"].map((name) => `<${name}> is dropped, as asked`));
    expect(written).not.toMatch(/hostdev|filesystem|evil/);
  });

  test("devices of that name, and no others", () => {
    const xml = domainXml({ devices: "<serial type='tcp'/><memory model='nvdimm'/><hub type='usb'/>" });
    const { written } = accepted(xml, ["serial", "memory"]);
    expect(written).toMatch(/<memory unit='MiB'>256/);
    expect(written).toMatch(/<hub/);
    expect(written).not.toMatch(/serial|nvdimm/);
  });

  test("words for QEMU", () => {
    const xml = domainXml({ attributes: " xmlns:qemu='u'", top: "<qemu:commandline/>" });
    expect(accepted(xml, ["qemu:commandline"]).written).not.toMatch(/qemu:/);
  });

  test("what an element that is kept may be without", () => {
    const xml = domainXml({ top: "<features><acpi/><future/></features>" });
    expect(accepted(xml, ["future"]).written).toMatch(/<features>\s*<acpi\/>\s*<\/features>/);
  });

  test("nothing that makes a disk, or the system, another one", () => {
    const disk = domainXml({ devices: diskXml("vda", "/a", "<encryption/>") });
    expect(readDomain(disk, { drop: ["encryption"] }).domain).toBeNull();
    const os = domainXml({ os: `${hvm}<dtb>/a</dtb>` });
    expect(readDomain(os, { drop: ["dtb"] }).domain).toBeNull();
  });

  test.each(["disk", "name", "uuid", "os", "devices", "vcpu"])("never %s", (name) => {
    expect(() => readDomain(domainXml(), { drop: [name] })).toThrow(
      expect.objectContaining({ code: "usage" }),
    );
  });
});
