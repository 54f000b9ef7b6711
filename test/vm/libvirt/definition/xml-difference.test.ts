/** What a person sees of a difference between two domains. */
import { describe, expect, test } from "bun:test";
import { xmlDifference } from "../../../../src/vm/libvirt/definition/xml-difference.ts";
import { diskXml, domainXml, wholeDomain, wholeDomains } from "../../../support/libvirt/domain-xml.ts";

const between = (today: string, there: string) =>
  xmlDifference(domainXml({ devices: today }), domainXml({ devices: there }));

describe("a difference", () => {
  test.each([...wholeDomains])("is none between %s and itself", (name) => {
    expect(xmlDifference(wholeDomain(name), wholeDomain(name))).toEqual([]);
  });

  test("is none between two ways to write the same", () => {
    expect(xmlDifference("<a x='1' y='2'><b/></a>", '<a y="2" x="1">\n  <b></b>\n</a>')).toEqual([]);
  });

  test("has one line for each end of what changed, and no more", () => {
    expect(between(diskXml("vda", "/old"), diskXml("vda", "/new"))).toEqual([
      "- devices/disk[vda]/source file=/old",
      "+ devices/disk[vda]/source file=/new",
    ]);
  });

  test("tells devices from each other by what they are", () => {
    expect(between(diskXml("vda", "/a") + diskXml("vdb", "/b"), diskXml("vdb", "/b"))).toEqual([
      "- devices/disk[vda] type=file device=disk",
      "- devices/disk[vda]/driver name=qemu type=qcow2",
      "- devices/disk[vda]/source file=/a",
      "- devices/disk[vda]/target dev=vda bus=virtio",
    ]);
    const net = (mac: string, name: string) =>
      `<interface type='network'><mac address='${mac}'/><source network='${name}'/></interface>`;
    expect(
      between(
        net("52:54:00:00:00:01", "a") + net("52:54:00:00:00:02", "b"),
        net("52:54:00:00:00:02", "c") + net("52:54:00:00:00:01", "a"),
      ),
    ).toEqual([
      "- devices/interface[52:54:00:00:00:02]/source network=b",
      "+ devices/interface[52:54:00:00:00:02]/source network=c",
    ]);
  });

  test("shows texts, what was added, and attributes of the whole", () => {
    expect(
      xmlDifference(
        "<domain id='3'><name>a</name></domain>",
        "<domain><name>b</name><title>t</title></domain>",
      ),
    ).toEqual(["- domain id=3", "- name a", "+ name b", "+ title t"]);
  });

  test("counts what cannot be told apart", () => {
    expect(between("<hub type='usb'/>", "<hub type='usb'/><hub type='usb'/>")).toEqual([
      "+ devices/hub#2 type=usb",
    ]);
  });

  test("shows no password, and moves no cursor", () => {
    const [line] = between("<graphics type='vnc' passwd='geheim'/>", "<graphics type='vnc'/>");
    expect(line).toBe("- devices/graphics[vnc] passwd=***");
    expect(xmlDifference("<a/>", "<a><b>x\u009b2J\u202e</b></a>")).toEqual(["+ b x?2J?"]);
  });
});
