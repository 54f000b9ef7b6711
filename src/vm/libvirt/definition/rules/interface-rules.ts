/** <interface>: cards on a network, on a bridge or on QEMU's user network; where they lead is the destination's. Pure. */
import {
  attributeOf,
  childOf,
  withAttributes,
  withChildren,
  type XmlElement,
} from "../../xml/xml-element.ts";
import { boot, device, virtio } from "./device-parts.ts";
import { type Draft, shown } from "./draft.ts";
import { type ElementRule, leftOut, leftOutWith, notAmong, wayOut } from "./grammar.ts";
import { count, mac, oneOf, only, onOff, word, yesNo } from "./values.ts";

/** What a card hangs on, if that is nothing that the destination could have as well. */
const otherKinds: Readonly<Record<string, string>> = {
  direct: "it is on a device of this host (macvtap)",
  hostdev: "it is a device of this host",
  vhostuser: "it is another program of this host (vhost-user)",
  vdpa: "it is a device of this host (vdpa)",
  udp: "it leads over a network that may not be the destination's",
  mcast: "it leads over a network that may not be the destination's",
  server: "it leads over a network that may not be the destination's",
  client: "it leads over a network that may not be the destination's",
  internal: "its network is another hypervisor's",
  vds: "its network is another hypervisor's",
};

/** Children by which a card reaches for the host, and what for. */
const reaching: Readonly<Record<string, string>> = {
  script: "its script is a program of this host",
  downscript: "its script is a program of this host",
  portForward: "it opens ports of the host",
  guest: "it is a container's",
};

/** What a network or bridge may be called; libvirt itself forbids only "/" (virXMLCheckIllegalChars). */
export const networkName = /^[^\p{C}\p{Z}/=,:]{1,64}$/u;
/** IFNAMSIZ of linux/if.h, less its end. */
export const bridgeName = /^[A-Za-z\d][\w.-]{0,14}$/;

/** "<interface> 52:54:00:…", for sentences. */
function cardName(card: XmlElement): string {
  const address = attributeOf(childOf(card, "mac"), "address");
  return address === undefined ? "<interface>" : `<interface> ${shown(address)}`;
}

/**
 * Of what runs, libvirt calls a card on a network that is a bridge of the host's (forward mode "bridge") one of that bridge,
 * and names the network beside it (formatnetwork; virDomainNetDefFormat): what it was defined as counts.
 */
function asDefined(card: XmlElement): XmlElement {
  const network = attributeOf(childOf(card, "source"), "network");
  return attributeOf(card, "type") === "bridge" && network !== undefined
    ? withAttributes(card, { type: "network" })
    : card;
}

function prepareCard(given: XmlElement, draft: Draft): XmlElement | null {
  const card = asDefined(given);
  const what = cardName(card);
  const type = attributeOf(card, "type") ?? "";
  if (!/^(?:network|bridge|user|ethernet)$/.test(type)) {
    const why = Object.hasOwn(otherKinds, type) ? otherKinds[type]! : notAmong;
    return draft.refuse(what, why, wayOut("interface"));
  }
  for (const { name } of card.children)
    if (Object.hasOwn(reaching, name)) return draft.refuse(what, reaching[name]!, wayOut("interface"));
  const backend = childOf(card, "backend");
  if (backend !== undefined && [...backend.attributes.values()].some((value) => value !== "default"))
    return draft.refuse(what, "its back end is a program or a device of this host", wayOut("interface"));
  const teaming = childOf(card, "teaming");
  if (teaming !== undefined && attributeOf(teaming, "type") !== "persistent")
    return draft.refuse(what, "it stands in for a device of this host", wayOut("interface"));
  return withChildren(card, (child) =>
    child.name === "source" ? sourceOf(child, type, draft, what) : child,
  );
}

/** Of what is behind a card, the name of the network or bridge. */
function sourceOf(source: XmlElement, type: string, draft: Draft, what: string): XmlElement | null {
  const name = type === "network" || type === "bridge" ? source.attributes.get(type) : undefined;
  if (source.attributes.has("portgroup"))
    draft.note(`${what} portgroup= is left out: it is about this host's network`);
  return name === undefined
    ? null
    : { ...source, attributes: new Map([[type, name]]), children: [], text: "" };
}

const traffic: ElementRule = {
  attributes: {
    average: count,
    peak: count,
    burst: count,
    floor: leftOutWith("it is about this host's network"),
  },
};

const offloads = { csum: onOff, gso: onOff, tso4: onOff, tso6: onOff, ecn: onOff, ufo: onOff };

/** libvirt gives QEMU the name of a model that it does not know as that of a device: only known ones may pass. */
const models = oneOf(`
  virtio virtio-transitional virtio-non-transitional virtio-net-pci virtio-net-device
  e1000 e1000-82544gc e1000-82545em e1000e igb rtl8139 vmxnet3 pcnet ne2k_pci
  i82550 i82551 i82557a i82557b i82557c i82558a i82558b i82559a i82559b i82559c i82559er i82562 i82801 usb-net
`);

export const card: ElementRule = device({
  prepare: prepareCard,
  needs: ["type"],
  attributes: {
    type: oneOf("network bridge user ethernet"),
    trustGuestRxFilters: leftOut,
    managed: leftOut,
  },
  children: {
    mac: { needs: ["address"], attributes: { address: mac, type: oneOf("generated static"), check: yesNo } },
    source: only({ network: networkName, bridge: networkName }),
    model: { needs: ["type"], attributes: { type: models } },
    driver: {
      attributes: {
        name: oneOf("qemu vhost"),
        txmode: oneOf("iothread timer"),
        ioeventfd: onOff,
        event_idx: onOff,
        queues: count,
        rx_queue_size: count,
        tx_queue_size: count,
        rss: onOff,
        rss_hash_report: onOff,
        ...virtio,
      },
      children: { host: only({ ...offloads, mrg_rxbuf: onOff }), guest: only(offloads) },
    },
    // Names of the source's devices, switches and ports.
    target: leftOut,
    backend: leftOut,
    virtualport: leftOutWith("it is about this host's switch"),
    vlan: leftOutWith("it is about this host's switch; the destination's network says which VLAN it is"),
    ip: leftOutWith("it is about this host's network"),
    route: leftOutWith("it is about this host's network"),
    filterref: {
      needs: ["filter"],
      attributes: { filter: word },
      children: {
        parameter: {
          many: true,
          needs: ["name", "value"],
          attributes: { name: word, value: /^[\w.:-]{1,64}$/ },
        },
      },
    },
    bandwidth: { children: { inbound: traffic, outbound: traffic } },
    tune: { children: { sndbuf: { text: /^\d{1,9}$/ } } },
    link: only({ state: oneOf("up down") }),
    mtu: only({ size: count }),
    coalesce: { children: { rx: { children: { frames: only({ max: count }) } } } },
    port: only({ isolated: yesNo }),
    rom: only({ enabled: yesNo, bar: onOff, file: /^$/ }),
    teaming: only({ type: oneOf("persistent") }),
    boot,
  },
});
