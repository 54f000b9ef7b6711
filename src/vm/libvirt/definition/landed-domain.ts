/**
 * The XML for the destination's libvirtd: the allow-listed domain with the destination's files in it, and behind each
 * card what the destination puts there. Pure.
 *
 * A card with nothing behind it: libvirt's type "null" is not QEMU's (qemu_validate.c of libvirt 9), and QEMU's
 * stream of a virtio card that was on a tap device can be resumed on a tap device alone ("vnet_hdr=on"). So it is
 * type "ethernet": a tap device that libvirt makes and adds to no bridge, its link down. A card that was on QEMU's
 * user network stays there with its link down, since the stream has a section that only a user network takes. QEMU
 * takes the state of a virtio or e1000 link out of the stream (virtio_net_post_load_device): in a domain that goes on
 * from one, links are set down afterwards (virsh domif-setlink), before it resumes; and libvirt sets none down that its
 * XML says is down already (qemuDomainChangeNet), so that there it says nothing (`cutLater`). The host itself can
 * be reached over the tap device once the link is up: to keep the host apart as well, map the card to an isolated
 * network of libvirt's.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { printable } from "../../../protocol/printable.ts";
import { writeXml } from "../xml/write-xml.ts";
import {
  attributeOf,
  element,
  withAttributes,
  withChildren,
  withoutChildren,
  type XmlElement,
} from "../xml/xml-element.ts";
import type { Domain, Place } from "./domain.ts";
import { withFiles } from "./places.ts";
import { bridgeName, networkName } from "./rules/interface-rules.ts";
import { isPath } from "./rules/values.ts";

/** What is behind a card. */
export type CardPlace = { kind: "network" | "bridge"; name: string } | { kind: "user" } | { kind: "none" };

/** What the destination alone decides. */
export interface DomainPlace {
  /** The destination's path for a file of the domain: absolute. */
  path(place: Place): string;
  /** By the number of the card, from 0. */
  card(index: number): CardPlace;
  /** The domain goes on from a stream: links are set down after that, and not by the XML. */
  cutLater?: boolean;
}

/**
 * XML that libvirtd defines, or starts.
 * @throws MigrateError "policy" for a path that is none, "usage" for a name that is no network's or bridge's.
 */
export function landedXml(domain: Domain, place: DomainPlace): string {
  const tree = withFiles(domain.tree, (file) => {
    const path = place.path(file);
    if (isPath(path)) return path;
    throw new MigrateError("policy", `The path "${printable(path)}" cannot be a file of a domain`);
  });
  let index = 0;
  return writeXml(
    withChildren(tree, (part) =>
      part.name !== "devices"
        ? part
        : withChildren(part, (device) =>
            device.name === "interface"
              ? landCard(device, place.card(index++), place.cutLater === true)
              : device,
          ),
    ),
  );
}

/** What libvirt has for cards on a switch of the host alone (conf/domain_validate.c, qemu_validate.c). */
const ofSwitch = ["filterref", "bandwidth", "port", "coalesce"];

function landCard(card: XmlElement, behind: CardPlace, cutLater: boolean): XmlElement {
  const plain = withoutChildren(card, "source", ...(isOnSwitch(behind) ? [] : ofSwitch));
  switch (behind.kind) {
    case "network":
    case "bridge":
      return withSource(plain, behind.kind, behind.name);
    case "user":
      return withAttributes(withoutTap(plain), { type: "user" });
    case "none": {
      const unlinked = withoutChildren(plain, "link");
      const down = cutLater ? [] : [element("link", { state: "down" })];
      const cut = { ...unlinked, children: [...unlinked.children, ...down] };
      if (attributeOf(card, "type") === "user") return withAttributes(withoutTap(cut), { type: "user" });
      return withAttributes(cut, { type: "ethernet" });
    }
  }
}

function isOnSwitch({ kind }: CardPlace): boolean {
  return kind === "network" || kind === "bridge";
}

/** Without what a tap device alone has. */
function withoutTap(card: XmlElement): XmlElement {
  const driver = (child: XmlElement) =>
    child.name === "driver" ? withAttributes(child, { name: undefined, queues: undefined }) : child;
  return withChildren(withoutChildren(card, "tune", "mtu"), driver);
}

function withSource(card: XmlElement, kind: "network" | "bridge", name: string): XmlElement {
  if (!(kind === "network" ? networkName : bridgeName).test(name))
    throw new MigrateError("usage", `"${printable(name)}" is no name of a ${kind}`);
  const source = element("source", { [kind]: name });
  const at = card.children.findIndex((child) => child.name === "mac") + 1;
  return withAttributes({ ...card, children: card.children.toSpliced(at, 0, source) }, { type: kind });
}
