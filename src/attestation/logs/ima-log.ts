/**
 * IMA's list of measurements in its binary form, as the kernel's binary_runtime_measurements gives it: what was run and
 * read since the kernel started (Linux, Documentation/security/IMA-templates.rst and
 * security/integrity/ima/ima_fs.c). Only what replays to the quoted register is proven. Pure.
 */
import { createHash } from "node:crypto";
import type { Bank } from "../structures/platform-state.ts";
import { digestAlgorithms } from "./digest-algorithms.ts";
import { extend } from "./event-log.ts";
import { readTemplate, type TemplateFields } from "./ima-templates.ts";
import { logLimits } from "./log-limits.ts";
import { LogReader } from "./log-reader.ts";

/** The register that IMA extends (CONFIG_IMA_MEASURE_PCR_IDX). */
export const imaRegister = 10;

/** One measurement. A list has hundreds of thousands, so that an entry keeps where it stands, and reads what is asked. */
export class ImaEntry {
  readonly register: number;
  /** As ima-ng; as the list has it, so not to be shown. */
  readonly #template: string;
  /** The file was written to while it was measured, or the other way round: the kernel had no digest to give. */
  readonly violation: boolean;
  readonly #list: Buffer;
  /** What the entry's digest is of: from and to which byte of the list. */
  readonly #from: number;
  readonly #to: number;

  constructor(
    register: number,
    template: string,
    violation: boolean,
    list: Buffer,
    from: number,
    to: number,
  ) {
    this.register = register;
    this.#template = template;
    this.violation = violation;
    this.#list = list;
    this.#from = from;
    this.#to = to;
  }

  /** A view of the list. */
  get data(): Buffer {
    return this.#list.subarray(this.#from, this.#to);
  }

  /**
   * The file's path, printable, null where the template has none or is not known here; and the digest of its content, as
   * "sha256:" and hex, null where there is none.
   */
  fields(): TemplateFields {
    return readTemplate(this.#template, this.data);
  }

  /** Whether this is the same measurement as the other one. */
  equals(other: ImaEntry): boolean {
    // Views of a hundred thousand entries cost more than lengths.
    return this.#to - this.#from === other.#to - other.#from && this.data.equals(other.data);
  }
}

export interface ImaLog {
  entries: readonly ImaEntry[];
  /** The whole list, which the entries are views of. */
  bytes: Buffer;
}

const logName = "IMA's list";
const sha1Bytes = digestAlgorithms.sha1.bytes;

/**
 * Reads a list. `bytes` are at most logLimits.imaLogBytes, which the result keeps and does not copy. If they begin with
 * the list that was read before, only what follows is read.
 * @throws MigrateError "attestation": the list is too long, is cut, is two lists in one, or is in the template "ima", whose
 *   digests are SHA-1 and MD5 alone. The sentence says at which entry, counted from 1.
 */
export function parseImaLog(bytes: Buffer, before?: ImaLog): ImaLog {
  const reader = new LogReader(bytes, logName);
  if (bytes.length > logLimits.imaLogBytes)
    throw reader.fault(`is ${bytes.length} bytes long, more than ${logLimits.imaLogBytes}`);
  const entries: ImaEntry[] = [];
  if (before !== undefined && isBeginning(before.bytes, bytes)) {
    for (const entry of before.entries) entries.push(entry);
    reader.skip(before.bytes.length);
  }
  const templates = new Map<string, string>();
  while (reader.left > 0) {
    if (entries.length >= logLimits.imaEntries)
      throw reader.fault(`has more than ${logLimits.imaEntries} entries`);
    const entry = readEntry(reader, bytes, entries.length, templates);
    const first = entries[0];
    // The kernel never lists its first measurement, of how it was booted, again.
    if (first !== undefined && !first.violation && !entry.violation && first.equals(entry))
      throw reader.fault(`begins anew at entry ${entries.length + 1}: it is more than one list`);
    entries.push(entry);
  }
  return { entries, bytes };
}

export interface ImaReplay {
  /** What register 10 holds after the last entry that was replayed, in lower-case hex. */
  value: string;
  /** How many entries that took, from the first. With a value to reach: null if no entry reaches it. */
  entries: number | null;
}

/**
 * What register 10 holds once the entries of this list were measured. With `quoted`, a value in hex: the shortest list
 * that gives it, because the kernel measures on between a quote and the reading of the list. What stands behind that is
 * not proven by the quote. A violation, whose digest in the list is all zeros, is extended as all ones, as the kernel does. `from` is a replay that reached the value that was quoted before, of the
 * beginning of this list: it goes on there.
 */
export function replayIma(log: ImaLog, bank: Bank, quoted?: string, from?: ImaReplay): ImaReplay {
  const { bytes } = digestAlgorithms[bank];
  const violated = Buffer.alloc(bytes, 0xff);
  const target = quoted === undefined ? undefined : Buffer.from(quoted, "hex");
  let value: Buffer = from === undefined ? Buffer.alloc(bytes) : Buffer.from(from.value, "hex");
  const begin = from?.entries ?? 0;
  if (target?.equals(value)) return { value: value.toString("hex"), entries: begin };
  for (let index = begin; index < log.entries.length; index++) {
    const entry = log.entries[index]!;
    if (entry.register !== imaRegister) continue;
    value = extend(bank, value, entry.violation ? violated : digestOfEntry(entry, bank));
    if (target?.equals(value)) return { value: value.toString("hex"), entries: index + 1 };
  }
  return { value: value.toString("hex"), entries: target === undefined ? log.entries.length : null };
}

/**
 * Whether the list reaches the quoted value if digests of SHA-1 with zeros behind them are extended, as Linux before 5.8
 * does in every bank: to say so, not to believe it, since collisions of SHA-1 can be made.
 */
export function replaysAsPaddedSha1(log: ImaLog, bank: Bank, quoted: string): boolean {
  const { bytes } = digestAlgorithms[bank];
  const violated = Buffer.alloc(bytes, 0xff);
  const target = Buffer.from(quoted, "hex");
  let value: Buffer = Buffer.alloc(bytes);
  return log.entries.some((entry) => {
    if (entry.register !== imaRegister) return false;
    const padded = Buffer.concat([digestOfEntry(entry, "sha1"), Buffer.alloc(bytes - sha1Bytes)]);
    value = extend(bank, value, entry.violation ? violated : padded);
    return value.equals(target);
  });
}

/** The digest of an entry's data, which is what the kernel extends (ima_calc_field_array_hash, since Linux 5.8). */
function digestOfEntry(entry: ImaEntry, algorithm: Bank | "sha1"): Buffer {
  return createHash(algorithm).update(entry.data).digest();
}

/** Whether `bytes` begin with `beginning`. */
function isBeginning(beginning: Buffer, bytes: Buffer): boolean {
  return beginning.length <= bytes.length && beginning.equals(bytes.subarray(0, beginning.length));
}

/** `templates` keeps one string for each template's name. */
function readEntry(reader: LogReader, list: Buffer, index: number, templates: Map<string, string>): ImaEntry {
  const where = `at entry ${index + 1}`;
  const register = reader.u32();
  if (register > 23) throw reader.fault(`names register ${register} ${where}, which no TPM has`);
  const violation = isZero(reader.bytes(sha1Bytes));
  const nameBytes = reader.u32();
  if (nameBytes === 0 || nameBytes > logLimits.templateNameBytes)
    throw reader.fault(`has a template's name of ${nameBytes} bytes ${where}`);
  const name = reader.bytes(nameBytes).toString("latin1");
  if (name === "ima")
    throw reader.fault(
      "is in the template ima, whose digests are SHA-1 alone: boot with ima_template=ima-ng",
    );
  const dataBytes = reader.u32();
  if (dataBytes > reader.left)
    throw reader.fault(`is cut ${where}: ${dataBytes} bytes are announced, ${reader.left} are left`);
  const from = reader.at;
  reader.skip(dataBytes);
  const template = templates.get(name) ?? name;
  templates.set(template, template);
  return new ImaEntry(register, template, violation, list, from, reader.at);
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}
