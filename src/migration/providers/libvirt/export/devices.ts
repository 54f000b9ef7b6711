/** The devices of an exported domain that are no disks and no cards, each with its place in the machine. */
import { element, type XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";
import type { ChardevPart, DevicePart, PlainPart } from "../../../../vm/qemu/definition/model.ts";
import { type Cards, cardModels } from "./cards.ts";
import { backingsOf, ideDisk, scsiDisk, virtioDisk } from "./disks.ts";
import { type ExportDraft, isOn, Keys } from "./draft.ts";

/** QEMU's own numbers of ports of a USB controller, which libvirt's are not (hw/usb/hcd-xhci.c). */
const xhciPorts = "4";
const usbControllers: Readonly<Record<string, string>> = {
  "qemu-xhci": "qemu-xhci",
  "nec-usb-xhci": "nec-xhci",
  "piix3-usb-uhci": "piix3-uhci",
  "piix4-usb-uhci": "piix4-uhci",
};
const usbInputs: Readonly<Record<string, string>> = {
  "usb-tablet": "tablet",
  "usb-mouse": "mouse",
  "usb-kbd": "keyboard",
};
/** Screens: what libvirt calls them, and what it has to be told so that QEMU's own sizes stay. */
const videos: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  std: { type: "vga", vram: "16384" },
  cirrus: { type: "cirrus", vram: "16384" },
  vmware: { type: "vmvga", vram: "16384" },
  virtio: { type: "virtio", heads: "1" },
  qxl: { type: "qxl", ram: "65536", vram: "65536", vgamem: "16384", heads: "1" },
};
const screens: Readonly<Record<string, string>> = {
  VGA: "std",
  "cirrus-vga": "cirrus",
  "vmware-svga": "vmware",
  "virtio-vga": "virtio",
  "qxl-vga": "qxl",
};

const sounds: Readonly<Record<string, string>> = {
  "intel-hda": "ich6",
  "ich9-intel-hda": "ich9",
  AC97: "ac97",
  ES1370: "es1370",
};
const codec = /^hda-(duplex|micro|output)$/;

export class Devices {
  readonly #draft: ExportDraft;
  readonly #cards: Cards;
  readonly #backings: ReturnType<typeof backingsOf>;
  readonly #scsi = new Map<string, number>();
  readonly #chardevs: Map<string, ChardevPart>;
  #hasUsb = false;
  #hasBalloon = false;
  #hasVideo = false;

  constructor(draft: ExportDraft, cards: Cards) {
    this.#draft = draft;
    this.#cards = cards;
    this.#backings = backingsOf(draft.model);
    const chardevs = draft.model.parts.filter((part) => part.kind === "chardev");
    this.#chardevs = new Map(chardevs.map((part) => [part.id, part]));
  }

  /** The board's own screen (-vga), which it makes before all other devices. */
  screen(kind: string): void {
    if (kind === "none") return;
    this.#video(kind, this.#draft.pci.place());
  }

  add(part: DevicePart): void {
    const { driver, pairs } = part;
    const draft = this.#draft;
    const backing = this.#backings.get(String(pairs.find(({ key }) => key === "drive")?.value));
    const keys = new Keys(draft, `-device ${driver}`, pairs);
    const id = keys.take("id");
    if (driver === "virtio-blk-pci") {
      virtioDisk(draft, backing, part);
      return;
    }
    if (driver === "ide-hd" || driver === "ide-cd") {
      ideDisk(draft, backing, part);
      return;
    }
    if (driver === "scsi-hd" || driver === "scsi-cd") {
      scsiDisk(draft, backing, part, this.#scsi);
      return;
    }
    if (Object.hasOwn(cardModels, driver)) {
      this.#cards.device(part);
      return;
    }
    if (Object.hasOwn(usbInputs, driver)) {
      this.#usbInput(driver, keys);
      return;
    }
    switch (driver) {
      case "pcie-root-port":
        this.#rootPort(keys, id);
        return;
      case "virtio-scsi-pci":
        this.#scsi.set(`${id ?? "scsi"}.0`, this.#scsi.size);
        this.#controller(keys, {
          type: "scsi",
          index: String(this.#scsi.size - 1),
          model: "virtio-scsi",
        });
        return;
      case "virtio-serial-pci":
        this.#controller(keys, { type: "virtio-serial", index: String(draft.next("virtio-serial")) });
        return;
      case "isa-serial":
        this.#serial(keys);
        return;
      case "virtserialport":
        this.#channel(keys);
        return;
      case "virtio-rng-pci":
        this.#random(keys);
        return;
      case "virtio-balloon-pci":
        this.#hasBalloon = true;
        draft.devices.push(element("memballoon", { model: "virtio" }, this.#placed(keys, driver)));
        return;
      case "i6300esb":
        draft.devices.push(
          element("watchdog", { model: driver, action: "reset" }, this.#placed(keys, driver)),
        );
        return;
      case "pvpanic":
        keys.end();
        draft.devices.push(element("panic", { model: "isa" }));
        return;
      case "tpm-tis":
      case "tpm-crb":
        keys.drop("tpmdev");
        keys.end();
        this.#tpm(driver);
        return;
    }
    if (Object.hasOwn(usbControllers, driver)) {
      this.#usbController(driver, keys);
      return;
    }
    // It stands with the sound card that it is on.
    if (codec.test(driver)) return;
    if (Object.hasOwn(sounds, driver)) {
      this.#sound(driver, id, keys);
      return;
    }
    const screen = screens[driver];
    if (screen === undefined) {
      draft.refuse(`-device ${driver}`);
      return;
    }
    keys.allow("max_outputs", "1");
    this.#video(screen, this.#placed(keys, driver)[0] ?? null);
  }

  /** A serial port of the board's (-serial), on a character device or on nothing; one more that QEMU adds by itself. */
  port(kind: "pty" | "null"): void {
    const port = this.#draft.next("serial");
    this.#draft.devices.push(
      element("serial", { type: kind }, [
        element("target", { type: "isa-serial", port: String(port) }, [
          element("model", { name: "isa-serial" }),
        ]),
      ]),
    );
  }

  /** -usbdevice, and the controller that -usb or -machine usb=on gives a PC. */
  boardUsb(): void {
    if (this.#draft.board !== "pc") {
      this.#draft.refuse("the USB controllers that -usb adds to this board");
      return;
    }
    if (this.#hasUsb) return;
    this.#hasUsb = true;
    const address = { type: "pci", domain: "0x0000", bus: "0x00", slot: "0x01", function: "0x2" };
    this.#draft.devices.push(
      element("controller", { type: "usb", index: String(this.#draft.next("usb")), model: "piix3-uhci" }, [
        element("address", address),
      ]),
    );
  }

  usbDevice(kind: string): void {
    this.#draft.devices.push(element("input", { type: kind, bus: "usb" }));
  }

  /** What libvirt would add by itself, and the VM does not have. */
  withoutMore(): void {
    const { devices } = this.#draft;
    if (!this.#hasUsb) devices.push(element("controller", { type: "usb", index: "0", model: "none" }));
    if (!this.#hasBalloon) devices.push(element("memballoon", { model: "none" }));
    if (!this.#hasVideo) devices.push(element("video", {}, [element("model", { type: "none" })]));
  }

  #placed(keys: Keys, driver: string, ...inner: XmlElement[]): XmlElement[] {
    const multifunction = isOn(keys.take("multifunction"));
    const place = this.#draft.pci.place(keys.take("addr"), keys.take("bus"), multifunction);
    keys.end();
    if (place === null) this.#draft.refuse(`-device ${driver}`, "its place in the machine is not known");
    return place === null ? inner : [...inner, place];
  }

  #controller(keys: Keys, attributes: Record<string, string>): void {
    keys.allow("iothread");
    const element_ = element("controller", attributes, this.#placed(keys, attributes.type!));
    this.#draft.devices.push(element_);
  }

  #rootPort(keys: Keys, id: string | undefined): void {
    const [chassis, port] = [keys.take("chassis"), keys.take("port")];
    keys.drop("slot");
    if (id === undefined || chassis === undefined) {
      this.#draft.refuse("-device pcie-root-port without id and chassis");
      return;
    }
    const inner = element("target", { chassis, port: `0x${Number(port ?? 0).toString(16)}` });
    const placed = this.#placed(keys, "pcie-root-port", inner);
    const index = this.#draft.pci.addBus(id);
    this.#draft.devices.push(
      element("controller", { type: "pci", index: String(index), model: "pcie-root-port" }, placed),
    );
  }

  #usbController(driver: string, keys: Keys): void {
    const [p2, p3] = [keys.take("p2") ?? xhciPorts, keys.take("p3") ?? xhciPorts];
    const isXhci = driver.endsWith("xhci");
    if (isXhci && p2 !== p3) this.#draft.refuse(`-device ${driver} with other numbers of ports`);
    this.#hasUsb = true;
    this.#controller(keys, {
      type: "usb",
      index: String(this.#draft.next("usb")),
      model: usbControllers[driver]!,
      ...(isXhci ? { ports: p2 } : {}),
    });
  }

  #usbInput(driver: string, keys: Keys): void {
    keys.drop("bus");
    const port = keys.take("port");
    keys.end();
    const address = port === undefined ? [] : [element("address", { type: "usb", bus: "0", port })];
    this.#draft.devices.push(element("input", { type: usbInputs[driver]!, bus: "usb" }, address));
  }

  #serial(keys: Keys): void {
    const backend = this.#chardevs.get(keys.take("chardev") ?? "")?.backend;
    keys.drop("index");
    keys.end();
    this.port(backend === "null" ? "null" : "pty");
  }

  #channel(keys: Keys): void {
    const name = keys.take("name");
    keys.drop("chardev", "bus");
    const port = keys.take("nr");
    keys.end();
    if (name === undefined) {
      this.#draft.refuse("-device virtserialport without a name");
      return;
    }
    const at = { type: "virtio-serial", controller: "0", bus: "0", port };
    const address = port === undefined ? [] : [element("address", at)];
    const target = element("target", { type: "virtio", name });
    this.#draft.devices.push(element("channel", { type: "unix" }, [target, ...address]));
  }

  #random(keys: Keys): void {
    const object = keys.take("rng");
    const isBuiltin =
      object === undefined ||
      this.#draft.model.parts.some((part) => part.kind === "plain" && isObject(part, object, "rng-builtin"));
    const limit = [keys.take("max-bytes"), keys.take("period")];
    if (limit.some((value) => value !== undefined))
      this.#draft.note("The rate of the random number generator is left out.");
    const backend = isBuiltin
      ? element("backend", { model: "builtin" })
      : element("backend", { model: "random" }, "/dev/urandom");
    this.#draft.devices.push(
      element("rng", { model: "virtio" }, this.#placed(keys, "virtio-rng-pci", backend)),
    );
  }

  #tpm(model: string): void {
    const version = this.#draft.place.isOldTpm ? "1.2" : "2.0";
    this.#draft.devices.push(
      element("tpm", { model }, [element("backend", { type: "emulator", version, persistent_state: "yes" })]),
    );
  }

  /** What the guest plays is heard nowhere, as it was. */
  #sound(driver: string, id: string | undefined, keys: Keys): void {
    keys.drop("audiodev");
    const codecs = this.#draft.model.parts.flatMap((part) => {
      if (part.kind !== "device" || !codec.test(part.driver)) return [];
      const bus = part.pairs.find(({ key }) => key === "bus")?.value;
      return bus === undefined || bus === `${id}.0`
        ? [element("codec", { type: codec.exec(part.driver)![1]! })]
        : [];
    });
    const isHda = driver.endsWith("hda");
    if (isHda && codecs.length === 0) this.#draft.refuse(`-device ${driver} without a codec`);
    const placed = this.#placed(keys, driver, ...(isHda ? codecs : []));
    this.#draft.devices.push(element("sound", { model: sounds[driver]! }, placed));
  }

  #video(kind: string, place: XmlElement | null): void {
    const model = videos[kind];
    if (model === undefined || place === null || this.#hasVideo) {
      this.#draft.refuse(`the screen ${kind}`);
      return;
    }
    this.#hasVideo = true;
    this.#draft.devices.push(element("video", {}, [element("model", { ...model, primary: "yes" }), place]));
    this.#draft.note("The VM has a screen that nobody sees: add <graphics type='vnc'/> to look at it.");
  }
}

function isObject({ option, pairs }: PlainPart, id: string, type: string): boolean {
  const is = (key: string, value: string) => pairs.some((pair) => pair.key === key && pair.value === value);
  return option === "-object" && is("id", id) && is("qom-type", type);
}
