/**
 * Character devices (<serial>, <parallel>, <console>, <channel>, <redirdev>, <smartcard>): those that end in QEMU, in
 * SPICE, in a terminal that libvirt makes or in a socket at a place of libvirt's own choice. Pure.
 */
import { attributeOf, childOf, withChildren, type XmlElement } from "../../xml/xml-element.ts";
import { boot, device } from "./device-parts.ts";
import { type Draft, shown, tag } from "./draft.ts";
import { type ElementRule, leftOut, leftOutWith, notAmong, wayOut } from "./grammar.ts";
import { count, oneOf, only, word, yesNo } from "./values.ts";

/** Where a character device leads, if it leads out of QEMU. */
const leading: Readonly<Record<string, string>> = {
  dev: "it leads to a device of this host",
  file: "it leads to a file of this host",
  pipe: "it leads to a pipe of this host",
  unix: "it leads to a socket of this host",
  stdio: "it leads to libvirt's own input",
  nmdm: "it leads to a device of this host",
  dbus: "it leads to another program of this host",
  udp: "it leads over a network that may not be the destination's",
  tcp: "it leads over a network that may not be the destination's",
};

/** Where libvirt makes the sockets of channels, of the system and of a user's session; it takes a path out either way. */
const ownSocket = /^\/(?:[^/]+\/){0,6}libvirt\/qemu\/(?:[^/]+\/){0,4}[^/]+$/;

function prepare(types: string): NonNullable<ElementRule["prepare"]> {
  const allowed = oneOf(types);
  return (device, draft) => {
    const type = attributeOf(device, "type") ?? "";
    const name = attributeOf(childOf(device, "target"), "name");
    const what = `${tag(device.name)}${name === undefined ? "" : ` ${shown(name)}`}`;
    const source = childOf(device, "source");
    if (!allowed.test(type)) {
      const why = Object.hasOwn(leading, type) ? leading[type]! : notAmong;
      return draft.refuse(what, why, wayOut(device.name));
    }
    if (type === "unix" && !isOwn(source)) {
      const hint = `Take the path out, so that libvirt chooses one, or leave it behind with --drop ${device.name}.`;
      return draft.refuse(what, leading.unix!, hint);
    }
    return withChildren(device, (child) => (child.name === "source" ? sourceWithin(child, type) : child));
  };
}

/** Whether libvirt chose the socket: it has no path, or one where libvirt makes them. */
function isOwn(source: XmlElement | undefined): boolean {
  const path = attributeOf(source, "path");
  return (
    path === undefined ||
    (attributeOf(source, "mode") !== "connect" && ownSocket.test(path) && !path.includes(".."))
  );
}

/** Of where a device leads, what is the guest's own. */
function sourceWithin(source: XmlElement, type: string): XmlElement | null {
  if (type === "spiceport") {
    const channel = attributeOf(source, "channel");
    return {
      ...source,
      attributes: new Map(channel === undefined ? [] : [["channel", channel]]),
      children: [],
    };
  }
  return type === "qemu-vdagent" ? { ...source, attributes: new Map() } : null;
}

const source: ElementRule = {
  attributes: { channel: word },
  children: { mouse: only({ mode: oneOf("client server") }), clipboard: only({ copypaste: yesNo }) },
};

const outside = {
  source,
  protocol: leftOut,
  log: leftOutWith("its file is the destination's to choose"),
};

function chardev(
  types: string,
  target: ElementRule,
  attributes: ElementRule["attributes"] = {},
): ElementRule {
  return device({
    prepare: prepare(types),
    needs: ["type"],
    attributes: { type: oneOf(types), tty: leftOut, ...attributes },
    children: { target, ...outside },
  });
}

const lineTarget: ElementRule = {
  attributes: {
    type: oneOf("isa-serial usb-serial pci-serial system-serial isa-debug serial virtio"),
    port: count,
  },
  children: {
    model: only({ name: oneOf("isa-serial usb-serial pci-serial pl011 isa-debugcon 16550a virtconsole") }),
  },
};

const inQemu = "pty null vc spiceport";

const redirfilter: ElementRule = {
  children: {
    usbdev: only(
      {
        class: /^(?:-1|0x[\da-fA-F]{1,2}|\d{1,3})$/,
        vendor: /^(?:-1|0x[\da-fA-F]{1,4})$/,
        product: /^(?:-1|0x[\da-fA-F]{1,4})$/,
        version: /^(?:-1|\d{1,3}\.\d{1,2})$/,
        allow: yesNo,
      },
      true,
    ),
  },
};

export const chardevRules: Readonly<Record<string, ElementRule>> = {
  serial: chardev(inQemu, lineTarget),
  console: chardev(inQemu, lineTarget),
  parallel: chardev(inQemu, lineTarget),
  channel: chardev(`${inQemu} unix spicevmc qemu-vdagent`, {
    needs: ["type"],
    attributes: { type: oneOf("virtio"), name: /^[\w.+-]{1,128}$/, state: leftOut },
  }),
  redirdev: device({
    prepare: prepare("spicevmc"),
    attributes: { type: oneOf("spicevmc"), bus: oneOf("usb") },
    children: { boot, ...outside },
  }),
  redirfilter,
  smartcard: device({
    prepare: prepareSmartcard,
    attributes: { type: oneOf("spicevmc"), mode: oneOf("passthrough") },
    children: { ...outside },
  }),
};

function prepareSmartcard(card: XmlElement, draft: Draft): XmlElement | null {
  if (attributeOf(card, "mode") === "passthrough") return prepare("spicevmc")(card, draft);
  return draft.refuse("<smartcard>", "its card is this host's", wayOut("smartcard"));
}
