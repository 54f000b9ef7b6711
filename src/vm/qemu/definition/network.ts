/**
 * -netdev and -nic: a VM brings its cards along, and what is behind them is the destination's own
 * affair. Only what the guest was told by QEMU's user network (its addresses) goes with it. Pure.
 */
import { unmigratable } from "./device-rules.ts";
import { cannotMigrate } from "./devices.ts";
import type { Draft, OptionReader } from "./draft.ts";
import type { NetSource, NetworkPart, TextPair } from "./model.ts";
import { asText, refused, shown } from "./option-syntax.ts";
import { readWord } from "./plain-options.ts";
import { type KeyRules, patterns, Settings } from "./settings.ts";

const { whole, flag, id, word, text } = patterns;

/** What each kind of backend is to a card. */
const backends: Readonly<Record<string, NetSource>> = {
  user: "user",
  tap: "bridge",
  bridge: "bridge",
  "vhost-user": "bridge",
  "vhost-vdpa": "bridge",
  socket: "other",
  stream: "other",
  dgram: "other",
  vde: "other",
  l2tpv3: "other",
  netmap: "other",
  "af-xdp": "other",
  // A hub of QEMU's own: what the destination puts behind a card that is cut off.
  hubport: "none",
};

const address = /^[\da-fA-F.:]{1,64}(?:\/[\da-fA-F.:]{1,64})?$/;
const hostName = /^[\w.-]{1,255}$/;

/** What the guest knows of QEMU's user network. */
export const userKeys: KeyRules = {
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

export const cardKeys: KeyRules = {
  mac: /^[\da-fA-F]{1,2}(?::[\da-fA-F]{1,2}){5}$/,
  macaddr: /^[\da-fA-F]{1,2}(?::[\da-fA-F]{1,2}){5}$/,
  addr: word,
  vectors: whole,
};
export const cardModels =
  /^(?:virtio|virtio-net-pci|virtio-net-device|e1000|e1000e|e1000-82545em|rtl8139|vmxnet3|pcnet|ne2k_pci|i8255\w{1,4})$/;

type Behind = Pick<NetworkPart, "source" | "header" | "restricted" | "network">;

/** What is behind the card. What is left of the keys are the source's own affairs, by whatever name. */
function behindOf(draft: Draft, settings: Settings): Behind {
  const type = settings.need("type", word);
  const source = Object.hasOwn(backends, type) ? backends[type] : undefined;
  if (source === undefined)
    throw refused(`${settings.option} ${shown(type)}`, "it is not among what a VM may bring along");
  requireOneQueue(settings);
  // A tap device without the header is like any other.
  const header = source === "bridge" && !(type === "tap" && settings.flag("vnet_hdr") === false);
  const restricted = source === "user" && settings.flag("restrict") === true;
  return { source, header, restricted, network: draft.networkNumber(networkOf(draft, settings, type)) };
}

/** A card with more queues than its tap device has at the destination cannot load its state there. */
function requireOneQueue(settings: Settings): void {
  const queues = settings.take("queues", whole);
  const many = ["fds", "vhostfds"].some((key) => settings.take(key, text)?.includes(":"));
  if (!many && (queues === undefined || Number(queues) <= 1)) return;
  throw refused(
    `${settings.option} queues`,
    "its card has more than one pair of queues, and has one at the destination",
    "Start the VM with queues=1, and without mq=on.",
  );
}

/** Which network it is, by its bridge where one is named (br0 is the helper's own); else it is one by itself. */
function networkOf(draft: Draft, settings: Settings, type: string): string {
  const bridge = settings.take("br", text) ?? (type === "bridge" ? "br0" : undefined);
  return bridge === undefined ? `of part ${draft.parts.length}` : `bridge ${bridge}`;
}

function keptPairs(settings: Settings, { source }: Behind): TextPair[] {
  return source === "user" ? asText(settings.kept(userKeys)) : [];
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
  const behind = behindOf(draft, settings);
  const own = settings.need("id", id);
  draft.define("netdev", own, option);
  noteSourceServices(draft, settings, `-netdev ${own}`);
  draft.parts.push({
    kind: "network",
    option: "-netdev",
    id: own,
    ...behind,
    pairs: keptPairs(settings, behind),
  });
};

const readNic: OptionReader = (draft, value, option) => {
  draft.namesNetwork = true;
  if (value === "none") {
    readWord(draft, value, option);
    return;
  }
  const settings = Settings.read(option, value, {
    implied: "type",
    repeats: ["hostfwd", "guestfwd", "dnssearch"],
  });
  const behind = behindOf(draft, settings);
  const own = settings.take("id", id) ?? null;
  const asked = settings.take("model", word);
  if (asked !== undefined && Object.hasOwn(unmigratable, asked))
    throw cannotMigrate(`${option} model=${asked}`, unmigratable[asked]!);
  if (asked !== undefined && !cardModels.test(asked))
    throw refused(`${option} model`, "its value is not one that a VM may bring along");
  const model = asked;
  const card = asText(settings.kept(cardKeys));
  noteSourceServices(draft, settings, "-nic");
  draft.parts.push({
    kind: "network",
    option: "-nic",
    id: own,
    ...behind,
    pairs: [
      ...(model === undefined ? [] : [{ key: "model", value: model }]),
      ...card,
      ...keptPairs(settings, behind),
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
  readWord(draft, value, "-nic");
};

/** Readers of the options that take a value. */
export const networkOptions: Readonly<Record<string, OptionReader>> = {
  "-netdev": readNetdev,
  "-nic": readNic,
  "-net": readNet,
};
