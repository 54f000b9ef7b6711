/** Board, firmware, memory, processors and clock of an exported domain. */
import { element, type XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";
import { ramOf } from "../../../../vm/qemu/definition/machine.ts";
import type { ModelFile, PlainPart } from "../../../../vm/qemu/definition/model.ts";
import { type ExportDraft, isOn, Keys } from "./draft.ts";

/** From this version on QEMU prefers cores to sockets where only a number is given (hw/core/machine-smp.c). */
const coresSince = 6.2;

export class Board {
  readonly #draft: ExportDraft;
  readonly #plain: readonly PlainPart[];

  constructor(draft: ExportDraft) {
    this.#draft = draft;
    this.#plain = draft.model.parts.filter((part) => part.kind === "plain");
  }

  /** Whether the board has USB of its own, whatever is plugged into it. */
  get hasUsb(): boolean {
    const { machinePairs } = this.#draft.model;
    return (
      this.#has("-usb") ||
      this.#has("-usbdevice") ||
      machinePairs.some(({ key, value }) => key === "usb" && isOn(value))
    );
  }

  /** All that stands before <devices>. */
  elements(): XmlElement[] {
    const { place, model } = this.#draft;
    const memory = ramOf(model);
    const smp = this.#smp();
    const endsAtReboot = this.#has("-no-reboot") || this.#word("-action", "reboot") === "shutdown";
    return [
      element("name", {}, place.name),
      element("uuid", {}, place.uuid),
      element("memory", { unit: "KiB" }, String(Math.ceil(memory / 1024))),
      element("vcpu", smp.cpus < smp.maxcpus ? { current: String(smp.cpus) } : {}, String(smp.maxcpus)),
      this.#os(),
      this.#features(),
      ...this.#cpu(smp),
      this.#clock(),
      element("on_poweroff", {}, "destroy"),
      element("on_reboot", {}, endsAtReboot ? "destroy" : "restart"),
      element("on_crash", {}, "destroy"),
    ];
  }

  #has(option: string): boolean {
    return this.#plain.some((part) => part.option === option);
  }

  #word(option: string, key: string): string | undefined {
    const part = this.#plain.find(
      (plain) => plain.option === option && plain.pairs.some((pair) => pair.key === key),
    );
    return part?.pairs.find((pair) => pair.key === key)?.value;
  }

  #os(): XmlElement {
    const { model, place } = this.#draft;
    const loader = this.#firmware();
    const path = (option: string) => {
      const part = model.parts.find((found) => found.kind === "file" && found.option === option);
      return part?.kind === "file" ? place.pathOf(model.files[part.file]!.name) : undefined;
    };
    const [kernel, initrd, cmdline] = [path("-kernel"), path("-initrd"), this.#word("-append", "value")];
    const bios = path("-bios");
    const boot = this.#word("-boot", "order") ?? "";
    const devices: Record<string, string> = { a: "fd", c: "hd", d: "cdrom", n: "network" };
    const hasOrder = model.parts.some(
      (part) => part.kind === "device" && part.pairs.some(({ key }) => key === "bootindex"),
    );
    const order = hasOrder ? [] : [...boot].flatMap((letter) => devices[letter] ?? []);
    return element("os", {}, [
      element("type", { arch: "x86_64", machine: model.machine }, "hvm"),
      ...loader,
      ...(bios === undefined ? [] : [element("loader", { readonly: "yes", type: "rom" }, bios)]),
      ...(kernel === undefined ? [] : [element("kernel", {}, kernel)]),
      ...(initrd === undefined ? [] : [element("initrd", {}, initrd)]),
      ...(cmdline === undefined ? [] : [element("cmdline", {}, cmdline)]),
      ...order.map((dev) => element("boot", { dev })),
      ...(isOn(this.#word("-boot", "menu")) ? [element("bootmenu", { enable: "yes" })] : []),
    ]);
  }

  /** Firmware in flash: the code, and what the guest keeps beside it. */
  #firmware(): XmlElement[] {
    const [code, vars] = this.#flash();
    if (code === undefined) return [];
    const { place } = this.#draft;
    if ([code, vars].some((file) => file !== undefined && file.format !== "raw"))
      this.#draft.refuse("firmware in a qcow2 image", "libvirt before 9.2 takes raw ones alone");
    const secure = this.#draft.model.parts.some(
      (part) => part.kind === "plain" && part.option === "-global" && isSecureFlash(part),
    );
    if (vars === undefined && code.kind === "disk")
      return [element("loader", { readonly: "no", type: "pflash" }, place.pathOf(code.name))];
    const loader = { readonly: "yes", ...(secure ? { secure: "yes" } : {}), type: "pflash" };
    return [
      element("loader", loader, place.pathOf(code.name)),
      ...(vars === undefined ? [] : [element("nvram", {}, place.pathOf(vars.name))]),
    ];
  }

  #flash(): [ModelFile | undefined, ModelFile | undefined] {
    const { parts, files, machinePairs } = this.#draft.model;
    const drives = parts.flatMap((part) =>
      part.kind === "drive" &&
      part.file !== null &&
      part.pairs.some(({ key, value }) => key === "if" && value === "pflash")
        ? [files[part.file]!]
        : [],
    );
    const ofNode = (key: string) => {
      const node = machinePairs.find((pair) => pair.key === key)?.value;
      const part = parts.find((found) => found.kind === "blockdev" && found.node === node);
      return part?.kind === "blockdev" ? files[part.file] : undefined;
    };
    return [ofNode("pflash0") ?? drives[0], ofNode("pflash1") ?? drives[1]];
  }

  #features(): XmlElement {
    const keys = new Keys(this.#draft, "-machine", this.#draft.model.machinePairs);
    keys.drop("usb", "pflash0", "pflash1", "memory-backend", "mem-merge", "graphics", "suppress-vmdesc");
    const acpi = keys.take("acpi");
    const [vmport, smm, hpet] = [keys.take("vmport"), keys.take("smm"), keys.take("hpet")];
    this.#hpet = hpet;
    const irqchip = keys.take("kernel-irqchip");
    keys.end();
    const state = (value: string) => ({ state: isOn(value) ? "on" : "off" });
    return element("features", {}, [
      ...(acpi === undefined || isOn(acpi) ? [element("acpi")] : []),
      element("apic"),
      ...(vmport === undefined ? [] : [element("vmport", state(vmport))]),
      ...(smm === undefined ? [] : [element("smm", state(smm))]),
      ...(irqchip === undefined || irqchip === "on"
        ? []
        : [element("ioapic", { driver: irqchip === "split" ? "qemu" : "kvm" })]),
    ]);
  }

  #hpet: string | undefined;

  /**
   * The processor in libvirt's words, if it has them for all of it; else QEMU is told its own once more, which count
   * (<qemu:commandline> comes last), and the topology alone is libvirt's.
   */
  #cpu(smp: Smp): XmlElement[] {
    const { cpu } = this.#draft.model;
    const topology = element("topology", {
      sockets: String(smp.sockets),
      dies: String(smp.dies),
      cores: String(smp.cores),
      threads: String(smp.threads),
    });
    if (cpu === null) return [element("cpu", {}, [topology])];
    const features = cpu.features.map((feature) => this.#feature(feature));
    const isKnown = features.every((feature) => feature !== null);
    const mode = { host: "host-passthrough", max: "maximum" }[cpu.model];
    if (isKnown && mode !== undefined)
      return [element("cpu", { mode, check: "none" }, [topology, ...features])];
    if (isKnown && this.#draft.place.cpuMap?.models.has(cpu.model) === true) {
      const model = element("model", { fallback: "forbid" }, cpu.model);
      return [
        element("cpu", { mode: "custom", match: "exact", check: "none" }, [model, topology, ...features]),
      ];
    }
    this.#draft.args.push("-cpu", [cpu.model, ...cpu.features].join(","));
    this.#draft.note(
      `The processor (${cpu.model}) is given to QEMU as it was: libvirt has no words for all of it.`,
    );
    return [element("cpu", {}, [topology])];
  }

  /** "+avx2", "-avx2", "avx2=on" as an element; null if libvirt has no word for it. */
  #feature(feature: string): XmlElement | null {
    const [, sign = "", qemuName = "", value] = /^([+-]?)([\w.-]+)(?:=(on|off))?$/.exec(feature) ?? [];
    const name = this.#draft.place.cpuMap?.features.get(qemuName);
    if (name === undefined || (sign !== "" && value !== undefined)) return null;
    return element("feature", { policy: sign === "-" || value === "off" ? "disable" : "require", name });
  }

  #smp(): Smp {
    const of = (key: string) => {
      const value = this.#word("-smp", key);
      return value === undefined ? undefined : Number(value);
    };
    if (of("clusters") !== undefined && of("clusters") !== 1) this.#draft.refuse("-smp clusters");
    const [threads, dies] = [of("threads") ?? 1, of("dies") ?? 1];
    const given = of("maxcpus") ?? of("cpus");
    let [sockets, cores] = [of("sockets"), of("cores")];
    const all = given ?? (sockets ?? 1) * (cores ?? 1) * threads * dies;
    const version = Number(/(\d+\.\d+)$/.exec(this.#draft.model.machine)?.[1] ?? coresSince);
    if (cores === undefined && sockets === undefined) {
      if (version >= coresSince) sockets = 1;
      else cores = 1;
    }
    sockets ??= Math.max(1, Math.floor(all / ((cores ?? 1) * threads * dies)));
    cores ??= Math.max(1, Math.floor(all / (sockets * threads * dies)));
    const maxcpus = sockets * dies * cores * threads;
    return { cpus: of("cpus") ?? maxcpus, maxcpus, sockets, dies, cores, threads };
  }

  #clock(): XmlElement {
    const base = this.#word("-rtc", "base") ?? "utc";
    if (base !== "utc" && base !== "localtime")
      this.#draft.note("The clock begins at this host's time, not at the date that -rtc names.");
    const isSlewed = this.#word("-rtc", "driftfix") === "slew";
    return element("clock", { offset: base === "localtime" ? "localtime" : "utc" }, [
      ...(isSlewed ? [element("timer", { name: "rtc", tickpolicy: "catchup" })] : []),
      ...(this.#hpet === undefined
        ? []
        : [element("timer", { name: "hpet", present: isOn(this.#hpet) ? "yes" : "no" })]),
    ]);
  }
}

interface Smp {
  cpus: number;
  maxcpus: number;
  sockets: number;
  dies: number;
  cores: number;
  threads: number;
}

function isSecureFlash({ pairs }: PlainPart): boolean {
  const of = (key: string) => pairs.find((pair) => pair.key === key)?.value;
  return of("driver") === "cfi.pflash01" && of("property") === "secure" && isOn(of("value"));
}
