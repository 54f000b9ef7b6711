/** What a guest shows and plays: <graphics>, <video>, <audio>, <sound>. Where a person looks is the destination's. Pure. */
import { attributeOf, childOf, element, withAttributes, type XmlElement } from "../../xml/xml-element.ts";
import { device, virtio } from "./device-parts.ts";
import { type Draft, shown } from "./draft.ts";
import { type ElementRule, leftOut, leftOutWith, wayOut } from "./grammar.ts";
import { count, oneOf, only, onOff, yesNo } from "./values.ts";

const loopback = /^(?:127\.0\.0\.1|::1|localhost)$/;

function prepareGraphics(graphics: XmlElement, draft: Draft): XmlElement | null {
  const type = attributeOf(graphics, "type") ?? "";
  const what = `<graphics> ${shown(type)}`;
  if (type !== "vnc" && type !== "spice")
    return draft.refuse(what, "it needs a display or a GPU of this host", wayOut("graphics"));
  if (attributeOf(childOf(graphics, "gl"), "enable") === "yes")
    return draft.refuse(what, "it needs a GPU of this host (<gl>)", wayOut("graphics"));
  noteOutside(graphics, draft, what);
  const listens = listensWithin(graphics);
  const changed = withAttributes(graphics, {
    ...Object.fromEntries(ofPlace.map((name) => [name, undefined])),
    autoport: listens.length === 0 ? "yes" : undefined,
  });
  const others = changed.children.filter(({ name }) => name !== "listen");
  return { ...changed, children: [...listens, ...others] };
}

/** Attributes about where and to whom it listens. */
const ofPlace =
  "listen port tlsPort websocket socket passwd passwdValidTo connected defaultMode autoport".split(" ");

/** To listen nowhere, or on a socket of libvirt's own, lets in fewer than an address does: that stays as it is. */
function listensWithin(graphics: XmlElement): XmlElement[] {
  const types = graphics.children
    .filter(({ name }) => name === "listen")
    .map((listen) => attributeOf(listen, "type") ?? "")
    .filter((type) => type === "none" || type === "socket");
  // A socket may be named by an attribute alone.
  if (types.length === 0 && graphics.attributes.has("socket")) types.push("socket");
  return types.map((type) => element("listen", { type }));
}

function noteOutside(graphics: XmlElement, draft: Draft, what: string): void {
  const addresses = [
    attributeOf(graphics, "listen"),
    ...graphics.children.map((child) => attributeOf(child, "address")),
  ];
  if (addresses.some((address) => address !== undefined && !loopback.test(address)))
    draft.note(`${what} listens on the destination's default address, not on the one it has here`);
  if (graphics.attributes.has("passwd")) draft.note(`${what} has no password there: it is left out`);
  if (attributeOf(graphics, "autoport") === "no" || Number(attributeOf(graphics, "websocket") ?? -1) > 0)
    draft.note(`${what} gets its ports from the destination`);
  if (
    attributeOf(graphics, "socket") !== undefined ||
    graphics.children.some((child) => child.attributes.has("socket"))
  )
    draft.note(`${what} gets its socket from the destination`);
}

const graphics: ElementRule = device({
  prepare: prepareGraphics,
  attributes: {
    type: oneOf("vnc spice"),
    autoport: oneOf("yes"),
    // The name of a file of QEMU's (qemu(1), -k).
    keymap: /^[a-z]{2,3}(?:-[a-z]{2})?$/,
    sharePolicy: oneOf("allow-exclusive force-shared ignore"),
    powerControl: yesNo,
  },
  children: {
    listen: { attributes: { type: oneOf("none socket") }, many: true },
    channel: leftOutWith("whether it is encrypted is the destination's to say"),
    image: only({ compression: oneOf("auto_glz auto_lz quic glz lz off") }),
    jpeg: only({ compression: oneOf("auto never always") }),
    zlib: only({ compression: oneOf("auto never always") }),
    playback: only({ compression: onOff }),
    streaming: only({ mode: oneOf("filter all off") }),
    clipboard: only({ copypaste: yesNo }),
    mouse: only({ mode: oneOf("server client") }),
    filetransfer: only({ enable: yesNo }),
    gl: only({ enable: oneOf("no"), rendernode: leftOut }),
    audio: only({ id: count }),
  },
});

/** Memory of the host that is not the guest's own: less than 10 GiB. */
const kibibytes = /^\d{1,7}$/;

function prepareVideo(video: XmlElement, draft: Draft): XmlElement | null {
  const model = childOf(video, "model");
  const acceleration = childOf(model, "acceleration");
  if (attributeOf(acceleration, "accel3d") === "yes" || attributeOf(acceleration, "rendernode") !== undefined)
    return draft.refuse("<video>", "it needs a GPU of this host (<acceleration>)", wayOut("video"));
  if (attributeOf(childOf(video, "driver"), "name") === "vhostuser")
    return draft.refuse("<video>", "it is another program of this host (vhost-user)", wayOut("video"));
  return video;
}

const video: ElementRule = device({
  prepare: prepareVideo,
  children: {
    driver: only({ name: oneOf("qemu"), vgaconf: oneOf("io on off"), ...virtio }),
    model: {
      needs: ["type"],
      attributes: {
        type: oneOf("vga cirrus vmvga qxl virtio bochs ramfb none"),
        ram: kibibytes,
        vram: kibibytes,
        vram64: kibibytes,
        vgamem: kibibytes,
        heads: count,
        primary: yesNo,
        blob: onOff,
        edid: onOff,
      },
      children: {
        acceleration: only({ accel2d: yesNo, accel3d: oneOf("no") }),
        resolution: only({ x: count, y: count }),
      },
    },
  },
});

function prepareAudio(audio: XmlElement, draft: Draft): XmlElement {
  const type = attributeOf(audio, "type") ?? "";
  if (type === "none" || type === "spice") return audio;
  draft.note(`<audio> ${shown(type)} is "none" there: this host's sound is not the destination's`);
  return element("audio", { id: attributeOf(audio, "id"), type: "none" });
}

const stream: ElementRule = {
  attributes: { mixingEngine: yesNo, fixedSettings: yesNo, voices: count, bufferLength: count },
  children: {
    settings: only({ frequency: count, channels: count, format: oneOf("s8 u8 s16 u16 s32 u32 f32") }),
  },
};

const audio: ElementRule = {
  many: true,
  prepare: prepareAudio,
  attributes: { id: count, type: oneOf("none spice"), timerPeriod: count },
  children: { input: stream, output: stream },
};

const sound: ElementRule = device({
  attributes: {
    model: oneOf("sb16 es1370 pcspk ac97 ich6 ich7 ich9 usb virtio"),
    multichannel: yesNo,
    streams: count,
  },
  needs: ["model"],
  children: {
    codec: only({ type: oneOf("duplex micro output") }, true),
    audio: only({ id: count }),
    driver: only(virtio),
  },
});

export const displayRules: Readonly<Record<string, ElementRule>> = { graphics, video, audio, sound };
