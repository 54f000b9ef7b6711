/** What an exported domain is made of while its VM's definition is read: elements, arguments, sentences, refusals. */
import { MigrateError } from "../../../../protocol/errors.ts";
import { printable } from "../../../../protocol/printable.ts";
import type { CpuMap } from "../../../../vm/libvirt/cpu-map.ts";
import type { XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";
import type { Pair, VmModel } from "../../../../vm/qemu/definition/model.ts";
import { PciPlaces } from "./pci-places.ts";

/** What is behind the exported VM's network cards, which no definition tells. */
export type CardBackend = { kind: "user" } | { kind: "bridge" | "network"; name: string };

export interface ExportPlace {
  name: string;
  uuid: string;
  /** Absolute path of a file of the VM, by its name. */
  pathOf: (file: string) => string;
  /** Null for cards that are there and reach nothing. */
  net: CardBackend | null;
  /** What this host's libvirt has words for; null if that is not known. */
  cpuMap: CpuMap | null;
  /** Whether the state of its TPM is that of a TPM 1.2. */
  isOldTpm: boolean;
}

export class ExportDraft {
  readonly model: VmModel;
  readonly place: ExportPlace;
  readonly board: "pc" | "q35";
  readonly pci: PciPlaces;
  /** What stands before <devices>. */
  head: readonly XmlElement[] = [];
  /** In <devices>. */
  readonly devices: XmlElement[] = [];
  /** Further arguments that libvirt hands to QEMU as they are. */
  readonly args: string[] = [];
  /** Sentences on what is different. */
  readonly notes: string[] = [];
  readonly refusals: MigrateError[] = [];
  readonly #count = new Map<string, number>();

  constructor(model: VmModel, place: ExportPlace, board: "pc" | "q35") {
    this.model = model;
    this.place = place;
    this.board = board;
    this.pci = new PciPlaces(board);
  }

  /** Says once what is different. */
  note(sentence: string): void {
    if (!this.notes.includes(sentence)) this.notes.push(sentence);
  }

  /** The guest would be another machine: `what` is named, and nothing is exported. */
  refuse(what: string, why = "libvirt has no word for it"): void {
    const message = `${printable(what)} cannot be exported: ${why}`;
    if (this.refusals.some((refusal) => refusal.message === message)) return;
    this.refusals.push(
      new MigrateError("policy", message, {
        hint: "The guest would find another machine. Start the VM with migrate start, or define the domain by hand.",
      }),
    );
  }

  /** How many of a kind there were before; counts this one. */
  next(kind: string): number {
    const count = this.#count.get(kind) ?? 0;
    this.#count.set(kind, count + 1);
    return count;
  }
}

/** The keys of an option, of which each has to be taken: what is left is refused by its name. */
export class Keys {
  readonly #draft: ExportDraft;
  readonly #what: string;
  readonly #values: Map<string, string>;

  constructor(draft: ExportDraft, what: string, pairs: readonly Pair[]) {
    this.#draft = draft;
    this.#what = what;
    this.#values = new Map(pairs.map(({ key, value }) => [key, String(value)]));
  }

  take(...keys: readonly string[]): string | undefined {
    let found: string | undefined;
    for (const key of keys) {
      found ??= this.#values.get(key);
      this.#values.delete(key);
    }
    return found;
  }

  /** Keys that mean nothing to the guest. */
  drop(...keys: readonly string[]): void {
    this.take(...keys);
  }

  /** Takes a key whose value has to be one of these; any other is refused. */
  allow(key: string, ...values: readonly string[]): void {
    const value = this.take(key);
    if (value !== undefined && !values.includes(value)) this.#draft.refuse(`${this.#what} ${key}=${value}`);
  }

  end(): void {
    for (const key of this.#values.keys()) this.#draft.refuse(`${this.#what} ${key}`);
  }
}

export const isOn = (value: string | undefined): boolean => /^(?:on|yes|true|y)$/.test(value ?? "");
