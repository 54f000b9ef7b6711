/**
 * -netdev and -nic: a VM brings its cards along, and what is behind them is the destination's own
 * affair. Only what the guest was told by QEMU's user network (its addresses) goes with it. Pure.
 */
import type { Draft, OptionReader } from "./draft.ts";
import type { NetBackend, Pair } from "./model.ts";
import { refused, shown } from "./option-syntax.ts";
import { type KeyRules, patterns, Settings } from "./settings.ts";

const { whole, flag, id, word } = patterns;

const backends: Readonly<Record<string, NetBackend>> = {
  user: "user",
  tap: "tap",
  bridge: "tap",
  "vhost-user": "tap",
  "vhost-vdpa": "tap",
  socket: "plain",
  stream: "plain",
  dgram: "plain",
  vde: "plain",
  l2tpv3: "plain",
  netmap: "plain",
  "af-xdp": "plain",
  hubport: "plain",
};

const address = /^[\da-fA-F.:]{1,64}(?:\/[\da-fA-F.:]{1,64})?$/;
const hostName = /^[\w.-]{1,255}$/;

/** What the guest knows of QEMU's user network. */
const userKeys: KeyRules = {
  ipv4: flag,
  ipv6: flag,
  net: address,
  host: address,
  dhcpstart: address,
  dns: address,
  "ipv6-net": address,
  "ipv6-prefix": address,
  "ipv6-prefixlen": whole,
  "ipv6-host": address,
  "ipv6-dns": address,
  hostname: hostName,
  domainname: hostName,
};

const cardKeys: KeyRules = {
  mac: /^[\da-fA-F]{1,2}(?::[\da-fA-F]{1,2}){5}$/,
  macaddr: /^[\da-fA-F]{1,2}(?::[\da-fA-F]{1,2}){5}$/,
  addr: word,
  vectors: whole,
};
const cardModels =
  /^(?:virtio|virtio-net-pci|virtio-net-device|e1000|e1000e|e1000-82545em|rtl8139|vmxnet3|pcnet|ne2k_pci|usb-net|i8255\w{1,4})$/;

/** What is left of the keys are the source's own affairs, by whatever name, and nobody looks at them. */
function keptPairs(settings: Settings, backend: NetBackend): Pair[] {
  if (backend === "user") return settings.kept(userKeys);
  return [];
}

function backendOf(settings: Settings): NetBackend {
  const type = settings.need("type", word);
  const backend = Object.hasOwn(backends, type) ? backends[type] : undefined;
  if (backend === undefined)
    throw refused(`${settings.option} ${shown(type)}`, "it is not among what a VM may bring along");
  // A tap device without the header is like any other.
  if (type === "tap" && settings.flag("vnet_hdr") === false) return "plain";
  return backend;
}

/** What a user network offered of the source's host, or to it, is said to be gone. */
function noteSourceServices(draft: Draft, settings: Settings, what: string): void {
  if (settings.has("hostfwd")) draft.note(`${what}: no ports of the destination are forwarded to the VM`);
  for (const key of ["guestfwd", "tftp", "smb"]) {
    if (settings.has(key)) draft.note(`${what}: ${key} is left out, it leads to the source's host`);
  }
}

const readNetdev: OptionReader = (draft, value, option) => {
  draft.namesNetwork = true;
  const settings = Settings.read(option, value, {
    implied: "type",
    json: true,
    repeats: ["hostfwd", "guestfwd", "dnssearch"],
  });
  const backend = backendOf(settings);
  const own = settings.need("id", id);
  draft.define("netdev", own, option);
  noteSourceServices(draft, settings, `-netdev ${own}`);
  draft.note(`-netdev ${own}: the network behind the card is the destination's`);
  draft.parts.push({
    kind: "network",
    option: "-netdev",
    id: own,
    backend,
    pairs: keptPairs(settings, backend),
  });
};

const readNic: OptionReader = (draft, value, option) => {
  draft.namesNetwork = true;
  if (value === "none") {
    draft.plain(option, value);
    return;
  }
  const settings = Settings.read(option, value, {
    implied: "type",
    repeats: ["hostfwd", "guestfwd", "dnssearch"],
  });
  const backend = backendOf(settings);
  const own = settings.take("id", id) ?? null;
  const model = settings.take("model", cardModels);
  const card = settings.kept(cardKeys);
  noteSourceServices(draft, settings, "-nic");
  draft.note("-nic: the network behind the card is the destination's");
  draft.parts.push({
    kind: "network",
    option: "-nic",
    id: own,
    backend,
    pairs: [
      ...(model === undefined ? [] : [{ key: "model", value: model }]),
      ...card,
      ...keptPairs(settings, backend),
    ],
  });
};

const readNet: OptionReader = (draft, value, option) => {
  if (value !== "none")
    throw refused(
      option,
      "it is the old form of -netdev and -nic",
      "Start the VM with -nic or -netdev instead.",
    );
  draft.namesNetwork = true;
  draft.plain("-nic", "none");
};

/** Readers of the options that take a value. */
export const networkOptions: Readonly<Record<string, OptionReader>> = {
  "-netdev": readNetdev,
  "-nic": readNic,
  "-net": readNet,
};
