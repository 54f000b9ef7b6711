/** What travels: no path of the source's, one form alone, and a destination that takes nothing else. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import type { Domain, Place } from "../../../../src/vm/libvirt/definition/domain.ts";
import {
  offeredName,
  offeredXml,
  readOffered,
} from "../../../../src/vm/libvirt/definition/offered-domain.ts";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { writeXml } from "../../../../src/vm/libvirt/xml/write-xml.ts";
import { diskXml, domainXml, hvm, wholeDomain, wholeDomains } from "../../../support/libvirt/domain-xml.ts";

const nameOf = (place: Place) => (place.kind === "disk" ? `${place.target}.img` : place.kind);

function leaving(xml: string): Domain {
  const { domain, refusals } = readDomain(xml);
  expect(refusals).toEqual([]);
  return domain!;
}

function refusal(xml: string): MigrateError {
  try {
    readOffered(xml);
  } catch (error) {
    if (error instanceof MigrateError) return error;
    throw error;
  }
  throw new Error("it was taken");
}

const offered = () => offeredXml(leaving(domainXml({ devices: diskXml() })), nameOf);

describe("an offered domain", () => {
  test.each([...wholeDomains])("%s is the same at the other end, and says no path", (name) => {
    const domain = leaving(wholeDomain(name));
    const xml = offeredXml(domain, nameOf);
    const there = readOffered(xml);
    expect(offeredXml(there, (place) => offeredName(there, place)!)).toBe(xml);
    expect({ ...there, tree: null, disks: null, firmware: null, kernel: null, initrd: null }).toEqual({
      ...domain,
      tree: null,
      disks: null,
      firmware: null,
      kernel: null,
      initrd: null,
    });
    // Whatever the source's files are called, they are called otherwise here: firmware and randomness alone stay.
    const metadata = /<metadata>[\s\S]*<\/metadata>|<description>.*<\/description>|<cmdline>.*<\/cmdline>/g;
    const paths = xml.replace(metadata, "").match(/(?:='|>)\/[^'<]+/g) ?? [];
    expect(paths.filter((path) => !/^(?:='|>)\/(?:usr\/share\/OVMF\/|dev\/u?random$)/.test(path))).toEqual(
      [],
    );
  });

  test("names its files", () => {
    const domain = leaving(
      domainXml({ os: `${hvm}<nvram>/a</nvram><kernel>/b</kernel><initrd>/c</initrd>`, devices: diskXml() }),
    );
    const there = readOffered(offeredXml(domain, nameOf));
    expect(there.disks[0]!.path).toBe("vda.img");
    expect([there.firmware.nvram, there.kernel, there.initrd]).toEqual(["nvram", "kernel", "initrd"]);
    expect(offeredName(there, { kind: "disk", target: "vda" })).toBe("vda.img");
    expect(offeredName(there, { kind: "disk", target: "vdb" })).toBeNull();
  });

  test("asks for no name of an empty drive", () => {
    const xml = domainXml({
      devices:
        "<disk type='file' device='cdrom'><source startupPolicy='optional'/><target dev='sda'/><readonly/></disk>",
    });
    const asked: Place[] = [];
    const there = readOffered(offeredXml(leaving(xml), (place) => `${asked.push(place)}`));
    expect(asked).toEqual([]);
    expect(there.disks).toEqual([
      { target: "sda", device: "cdrom", path: null, format: "raw", readOnly: true, shareable: false },
    ]);
  });

  test("is never made with a path for a name", () => {
    const domain = leaving(domainXml({ devices: diskXml() }));
    expect(() => offeredXml(domain, () => "/etc/shadow")).toThrow(expect.objectContaining({ code: "bug" }));
  });

  // [DOM-1]
  test("is taken as it is made", () => {
    const xml = offered();
    expect(writeXml(readOffered(xml).tree)).toBe(xml);
  });

  test.each([
    ["a path", (xml: string) => xml.replace("'vda.img'", "'/etc/shadow'")],
    ["a way up", (xml: string) => xml.replace("'vda.img'", "'../vda.img'")],
    ["the manifest", (xml: string) => xml.replace("'vda.img'", "'vm.json'")],
    ["a hidden file", (xml: string) => xml.replace("'vda.img'", "'.vda'")],
    ["no name", (xml: string) => xml.replace("'vda.img'", "''")],
    ["an absolute NVRAM", (xml: string) => xml.replace("</os>", "<nvram>/a</nvram></os>")],
    [
      "what the source would have left out",
      (xml: string) => xml.replace("<devices>", "<devices><emulator>/tmp/evil</emulator>"),
    ],
    ["an alias", (xml: string) => xml.replace("</disk>", "<alias name='a'/></disk>")],
    [
      "a backing file",
      (xml: string) =>
        xml.replace("</disk>", "<backingStore type='file'><source file='/b'/></backingStore></disk>"),
    ],
    [
      "a pinned processor",
      (xml: string) => xml.replace("<os>", "<cputune><vcpupin vcpu='0' cpuset='3'/></cputune><os>"),
    ],
    ["a password", (xml: string) => xml.replace("<devices>", "<devices><graphics type='vnc' passwd='a'/>")],
    ["a dump", (xml: string) => xml.replace("<os>", "<on_crash>coredump-destroy</on_crash><os>")],
    [
      "firmware that would be written to",
      (xml: string) => xml.replace("</os>", "<loader type='pflash'>/usr/share/OVMF/a.fd</loader></os>"),
    ],
    ["a device of the host", (xml: string) => xml.replace("<devices>", "<devices><hostdev/>")],
    ["words for QEMU", (xml: string) => xml.replace("<os>", "<q:commandline xmlns:q='u'/><os>")],
    ["a comment", (xml: string) => xml.replace("<os>", "<!-- a --><os>")],
    ["a declaration", (xml: string) => `<?xml version='1.0'?>${xml}`],
    ["a document type", (xml: string) => `<!DOCTYPE domain>${xml}`],
    ["other quotes", (xml: string) => xml.replace("'vda.img'", '"vda.img"')],
    ["other spaces", (xml: string) => `${xml}\n`],
    ["a reference for a letter", (xml: string) => xml.replace("'vda.img'", "'&#118;da.img'")],
    ["another name by way of CDATA", (xml: string) => xml.replace("<name>web1", "<name><![CDATA[web1]]>")],
  ])("is refused with %s", (_, change) => {
    const xml = offered();
    const changed = change(xml);
    expect(changed).not.toBe(xml);
    const error = refusal(changed);
    expect(error.code).toBe("policy");
    expect(error.side).toBe("destination");
  });
});
