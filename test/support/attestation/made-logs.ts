/**
 * Logs that are made here, with the registers that they leave: of firmware (TCG PC Client Platform Firmware Profile 1.05,
 * section 10) and of IMA. Written apart from what reads them.
 */
import { createHash } from "node:crypto";

const ids: Readonly<Record<string, number>> = { sha1: 0x4, sha256: 0xb, sha384: 0xc };
const sizes: Readonly<Record<string, number>> = { sha1: 20, sha256: 32, sha384: 48 };

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function hash(algorithm: string, ...parts: Buffer[]): Buffer {
  return createHash(algorithm).update(Buffer.concat(parts)).digest();
}

/** TCG_EfiSpecIDEvent; `pairs` are ids and sizes. */
export function specId(pairs: readonly (readonly [number, number])[], count = pairs.length): Buffer {
  return Buffer.concat([
    Buffer.from("Spec ID Event03\0", "latin1"),
    u32(0),
    Buffer.from([0, 2, 105, 2]),
    u32(count),
    ...pairs.flatMap(([id, bytes]) => [u16(id), u16(bytes)]),
    Buffer.from([0]),
  ]);
}

/** TCG_PCR_EVENT. */
export function firstEvent(data: Buffer, type = 3, register = 0): Buffer {
  return Buffer.concat([u32(register), u32(type), Buffer.alloc(20), u32(data.length), data]);
}

/** TCG_PCR_EVENT2. */
export function event2(
  register: number,
  type: number,
  digests: readonly (readonly [number, Buffer])[],
  data: Buffer,
): Buffer {
  return Buffer.concat([
    ...[register, type, digests.length].map(u32),
    ...digests.flatMap(([id, digest]) => [u16(id), digest]),
    u32(data.length),
    data,
  ]);
}

/** A firmware's log while it is written, and the registers beside it. */
export class MadeEventLog {
  readonly #parts: Buffer[];
  readonly #algorithms: readonly string[];
  readonly #registers = new Map<string, Buffer>();

  constructor(algorithms: readonly string[] = ["sha1", "sha256", "sha384"]) {
    this.#algorithms = algorithms;
    this.#parts = [firstEvent(specId(algorithms.map((name) => [ids[name]!, sizes[name]!])))];
  }

  /** An event; `measured` is what its digests are of, if that is not the data. */
  event(register: number, type: number, data: Buffer | string, measured?: Buffer | string): this {
    const bytes = Buffer.from(data as string, "latin1");
    const content = measured === undefined ? bytes : Buffer.from(measured as string, "latin1");
    const extended = type !== 3;
    const digests = this.#algorithms.map((name): [number, Buffer] => [
      ids[name]!,
      extended ? hash(name, content) : Buffer.alloc(sizes[name]!),
    ]);
    this.#parts.push(event2(register, type, digests, bytes));
    if (extended)
      for (const [index, name] of this.#algorithms.entries()) {
        const before = this.#registers.get(`${name} ${register}`) ?? Buffer.alloc(sizes[name]!);
        this.#registers.set(`${name} ${register}`, hash(name, before, digests[index]![1]));
      }
    return this;
  }

  /** TCG_EfiStartupLocalityEvent: register 0 begins with the locality. */
  locality(locality: number): this {
    for (const name of this.#algorithms) {
      const value = Buffer.alloc(sizes[name]!);
      value[value.length - 1] = locality;
      this.#registers.set(`${name} 0`, value);
    }
    return this.event(0, 3, Buffer.concat([Buffer.from("StartupLocality\0"), Buffer.from([locality])]));
  }

  raw(bytes: Buffer): this {
    this.#parts.push(bytes);
    return this;
  }

  /** A register's value, in hex. */
  value(bank: string, register: number): string {
    return (this.#registers.get(`${bank} ${register}`) ?? Buffer.alloc(sizes[bank]!)).toString("hex");
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** UEFI_VARIABLE_DATA, of the global variables unless said otherwise. */
export function efiVariable(name: string, value: Buffer, vendor = globalVariables): Buffer {
  const wide = Buffer.from(name, "utf16le");
  return Buffer.concat([vendor, u64(name.length), u64(value.length), wide, value]);
}

/** 8BE4DF61-93CA-11D2-AA0D-00E098032B8C. */
export const globalVariables = Buffer.from("61dfe48bca93d211aa0d00e098032b8c", "hex");

/** UEFI_IMAGE_LOAD_EVENT with the path of a file. */
export function imageLoad(path: string): Buffer {
  const wide = Buffer.from(`${path}\0`, "utf16le");
  const node = Buffer.concat([
    Buffer.from([4, 4]),
    u16(4 + wide.length),
    wide,
    Buffer.from([0x7f, 0xff, 4, 0]),
  ]);
  return Buffer.concat([u64(0x1000), u64(4096), u64(0), u64(node.length), node]);
}

export interface MadeImaEntry {
  template?: string;
  register?: number;
  path?: string;
  digest?: Buffer;
  algorithm?: string;
  violation?: boolean;
  /** Fields behind digest and path. */
  more?: readonly Buffer[];
  /** The data, in place of fields. */
  data?: Buffer;
}

/** An entry of IMA's binary list. */
export function imaEntry(entry: MadeImaEntry): Buffer {
  const data = imaData(entry);
  const template = Buffer.from(entry.template ?? "ima-ng", "latin1");
  const digest = entry.violation ? Buffer.alloc(20) : hash("sha1", data);
  return Buffer.concat([
    u32(entry.register ?? 10),
    digest,
    u32(template.length),
    template,
    u32(data.length),
    data,
  ]);
}

function imaData({ path = "/usr/bin/a", algorithm = "sha256", more = [], ...entry }: MadeImaEntry): Buffer {
  if (entry.data !== undefined) return entry.data;
  const digest = entry.digest ?? (entry.violation ? Buffer.alloc(32) : hash("sha256", Buffer.from(path)));
  const first = Buffer.concat([Buffer.from(`${algorithm}:\0`, "latin1"), digest]);
  return Buffer.concat(
    [first, Buffer.from(`${path}\0`), ...more].flatMap((field) => [u32(field.length), field]),
  );
}

/** Register 10 after these entries, in hex. */
export function imaValue(bank: string, entries: readonly MadeImaEntry[]): string {
  let value: Buffer = Buffer.alloc(sizes[bank]!);
  for (const entry of entries) {
    if ((entry.register ?? 10) !== 10) continue;
    const extended = entry.violation ? Buffer.alloc(sizes[bank]!, 0xff) : hash(bank, imaData(entry));
    value = hash(bank, value, extended);
  }
  return value.toString("hex");
}
