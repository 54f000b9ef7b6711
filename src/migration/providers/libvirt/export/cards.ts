/** The network cards of an exported domain: model, MAC address and place are the VM's, what is behind them is the host's. */
import { element, type XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";
import type { DevicePart, NetworkPart, Part } from "../../../../vm/qemu/definition/model.ts";
import { bootOrder } from "./disks.ts";
import { type ExportDraft, Keys } from "./draft.ts";

/** Cards by QEMU's name for them, as libvirt calls them. */
export const cardModels: Readonly<Record<string, string>> = {
  "virtio-net-pci": "virtio",
  virtio: "virtio",
  e1000: "e1000",
  "e1000-82545em": "e1000-82545em",
  e1000e: "e1000e",
  rtl8139: "rtl8139",
  vmxnet3: "vmxnet3",
  pcnet: "pcnet",
  ne2k_pci: "ne2k_pci",
};

/** QEMU counts up from here for cards that are given no MAC address (net/net.c, qemu_macaddr_default_if_unset). */
const firstMac = 0x56;

/** MAC addresses of the cards in the order in which QEMU makes them: those given, and the first free one for each other. */
class Macs {
  readonly #used: Set<string>;

  constructor(given: readonly string[]) {
    this.#used = new Set(given.map((mac) => mac.toLowerCase()));
  }

  next(given: string | undefined): string {
    if (given !== undefined) return given.toLowerCase();
    for (let last = firstMac; ; last++) {
      const mac = `52:54:00:12:34:${last.toString(16).padStart(2, "0")}`;
      if (this.#used.has(mac)) continue;
      this.#used.add(mac);
      return mac;
    }
  }
}

export class Cards {
  readonly #draft: ExportDraft;
  readonly #macs: Macs;

  constructor(draft: ExportDraft) {
    this.#draft = draft;
    const given = draft.model.parts.flatMap((part) => macOf(part) ?? []);
    this.#macs = new Macs(given);
  }

  /** -nic: the board makes these, before any -device. */
  nic({ pairs, source }: NetworkPart): void {
    const keys = new Keys(this.#draft, "-nic", pairs);
    const usual = this.#draft.board === "pc" ? "e1000" : "e1000e";
    const model = keys.take("model") ?? usual;
    keys.drop("vectors");
    const mac = keys.take("mac", "macaddr");
    const addr = keys.take("addr");
    // Addresses that the guest was given by QEMU's user network are the host's affair.
    this.#userKeys(keys, source);
    keys.end();
    this.add(model, { mac, place: this.#draft.pci.place(addr), bootindex: undefined });
  }

  /** The card that QEMU adds where nothing is said of the network. */
  usual(): void {
    this.add(this.#draft.board === "pc" ? "e1000" : "e1000e", {
      mac: undefined,
      place: this.#draft.pci.place(),
      bootindex: undefined,
    });
  }

  /** -device of a card. */
  device({ driver, pairs }: DevicePart): void {
    const keys = new Keys(this.#draft, `-device ${driver}`, pairs);
    // Interrupts of its own follow from the model; a card without a ROM cannot be booted from.
    keys.drop("id", "netdev", "vectors");
    keys.allow("mq", "off");
    if (keys.take("romfile") !== undefined) this.#draft.note("Cards without a ROM have QEMU's own now.");
    const mac = keys.take("mac");
    const bootindex = keys.take("bootindex");
    const place = this.#draft.pci.place(keys.take("addr"), keys.take("bus"));
    keys.end();
    this.add(driver, { mac, place, bootindex });
  }

  add(
    model: string,
    {
      mac,
      place,
      bootindex,
    }: { mac: string | undefined; place: XmlElement | null; bootindex: string | undefined },
  ): void {
    const known = cardModels[model];
    if (known === undefined || place === null) this.#draft.refuse(`the network card ${model}`);
    const { net } = this.#draft.place;
    this.#draft.devices.push(
      element("interface", { type: net?.kind ?? "user" }, [
        element("mac", { address: this.#macs.next(mac) }),
        ...(net !== null && net.kind !== "user" ? [element("source", { [net.kind]: net.name })] : []),
        element("model", { type: known ?? "virtio" }),
        ...(net === null ? [element("link", { state: "down" })] : []),
        ...bootOrder(bootindex),
        ...(place === null ? [] : [place]),
      ]),
    );
    this.#draft.note(
      net === null
        ? "Network cards are there, and their cables are pulled: say what is behind each in <interface>, and take out <link state='down'/>."
        : `Network cards are on ${net.kind === "user" ? "QEMU's user network" : `the ${net.kind} ${net.name}`}, all of them.`,
    );
  }

  #userKeys(keys: Keys, source: NetworkPart["source"]): void {
    if (source !== "user") return;
    keys.drop("ipv4", "ipv6", "net", "host", "dhcpstart", "dns", "hostname", "domainname");
    keys.drop("ipv6-net", "ipv6-prefix", "ipv6-prefixlen", "ipv6-host", "ipv6-dns");
  }
}

function macOf(part: Part): string | undefined {
  if (part.kind !== "device" && part.kind !== "network") return undefined;
  const mac = part.pairs.find(({ key }) => key === "mac" || key === "macaddr")?.value;
  return mac === undefined ? undefined : String(mac);
}
