/** What the destination's libvirtd is given: its own files, and behind each card what the destination says. */
import { describe, expect, test } from "bun:test";
import type { Domain } from "../../../../src/vm/libvirt/definition/domain.ts";
import { type CardPlace, landedXml } from "../../../../src/vm/libvirt/definition/landed-domain.ts";
import { offeredXml, readOffered } from "../../../../src/vm/libvirt/definition/offered-domain.ts";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { readXml } from "../../../../src/vm/libvirt/xml/read-xml.ts";
import { attributeOf, childOf, type XmlElement } from "../../../../src/vm/libvirt/xml/xml-element.ts";
import { diskXml, domainXml, hvm, wholeDomain, wholeDomains } from "../../../support/libvirt/domain-xml.ts";

function offered(xml: string): Domain {
  const { domain } = readDomain(xml);
  return readOffered(offeredXml(domain!, (place) => (place.kind === "disk" ? place.target : place.kind)));
}

const land = (xml: string, card: (index: number) => CardPlace = () => ({ kind: "none" })) =>
  landedXml(offered(xml), {
    path: (place) => `/vms/${place.kind === "disk" ? place.target : place.kind}`,
    card,
  });

function cardsOf(xml: string): XmlElement[] {
  return childOf(readXml(xml), "devices")!.children.filter(({ name }) => name === "interface");
}

const card = (type: string, inner = "") =>
  domainXml({
    devices: `<interface type='${type}'><mac address='52:54:00:00:00:01'/>${inner}<model type='virtio'/></interface>`,
  });

describe("a landed domain", () => {
  test.each([...wholeDomains])("%s has the destination's files, and can move on", (name) => {
    const xml = land(wholeDomain(name));
    const again = readDomain(xml);
    expect(again.refusals).toEqual([]);
    const { disks, firmware, name: own, uuid } = again.domain!;
    for (const { path, target } of disks) expect([null, `/vms/${target}`]).toContain(path);
    expect([null, "/vms/nvram"]).toContain(firmware.nvram);
    const before = readDomain(wholeDomain(name)).domain!;
    expect([own, uuid]).toEqual([before.name, before.uuid]);
    expect(again.domain!.cards.map(({ mac }) => mac)).toEqual(before.cards.map(({ mac }) => mac));
    expect(land(xml)).toBe(xml);
  });

  test("names boot files where the destination has them", () => {
    const xml = land(
      domainXml({ os: `${hvm}<nvram>/a</nvram><kernel>/b</kernel><initrd>/c</initrd>`, devices: diskXml() }),
    );
    for (const path of ["/vms/nvram", "/vms/kernel", "/vms/initrd", "/vms/vda"]) expect(xml).toContain(path);
  });

  test("takes no path that is none", () => {
    const domain = offered(domainXml({ devices: diskXml() }));
    for (const path of ["vda", "/a\nb", "/"])
      expect(() => landedXml(domain, { path: () => path, card: () => ({ kind: "none" }) })).toThrow(
        expect.objectContaining({ code: "policy" }),
      );
  });

  test("puts networks and bridges behind cards, by number", () => {
    const places: CardPlace[] = [
      { kind: "bridge", name: "br7" },
      { kind: "network", name: "inner" },
    ];
    const [first, second] = cardsOf(land(wholeDomain("two-networks"), (index) => places[index]!));
    expect([attributeOf(first, "type"), attributeOf(childOf(first, "source"), "bridge")]).toEqual([
      "bridge",
      "br7",
    ]);
    expect([attributeOf(second, "type"), attributeOf(childOf(second, "source"), "network")]).toEqual([
      "network",
      "inner",
    ]);
    // A link that was down at the source is down here.
    expect(attributeOf(childOf(second, "link"), "state")).toBe("down");
  });

  test("leaves a card with nothing behind it a tap device without a bridge, its link down", () => {
    const inner =
      "<source bridge='br0'/><filterref filter='a'/><bandwidth/><link state='up'/><mtu size='1400'/>";
    const [none] = cardsOf(land(card("bridge", inner)));
    expect(attributeOf(none, "type")).toBe("ethernet");
    expect(none!.children.map(({ name }) => name)).toEqual(["mac", "mtu", "model", "link"]);
    expect(attributeOf(childOf(none, "link"), "state")).toBe("down");
  });

  test("leaves a card of the user network there, its link down: its stream fits nowhere else", () => {
    const [none] = cardsOf(land(card("user")));
    expect(attributeOf(none, "type")).toBe("user");
    expect(attributeOf(childOf(none, "link"), "state")).toBe("down");
  });

  test("gives a card on the user network nothing that a tap device has", () => {
    const inner =
      "<source bridge='br0'/><driver name='vhost' queues='4' packed='on'/><tune><sndbuf>0</sndbuf></tune><mtu size='1400'/>";
    const [user] = cardsOf(land(card("bridge", inner), () => ({ kind: "user" })));
    expect(user!.children.map(({ name }) => name)).toEqual(["mac", "driver", "model"]);
    expect([...childOf(user, "driver")!.attributes]).toEqual([["packed", "on"]]);
  });

  test("knows no other names than those of networks and bridges", () => {
    for (const place of [
      { kind: "bridge", name: "a/b" },
      { kind: "bridge", name: "a-name-that-is-too-long" },
      { kind: "network", name: "" },
    ] as const)
      expect(() => land(card("user"), () => place)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});
