/**
 * Which registers are meant, as a TPM has it: TPML_PCR_SELECTION (TPM 2.0 Library Part 2, 10.9.7), and the digest over
 * their values that a quote signs (Part 1, 17.5). Pure.
 */
import { createHash } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { bankHash } from "./algorithms.ts";
import { u8, u16, u32 } from "./marshal.ts";
import { banks, type PcrSelection } from "./platform-state.ts";
import type { StructureReader } from "./structure-reader.ts";

/** Registers of a platform: TCG PC Client Platform TPM Profile, 24 of them. */
export const registerCount = 24;
const bitmapBytes = 3;
/** Banks in one selection; a TPM of today has at most five. */
const mostBanks = 16;

/** One line of a selection that was read: the bank as TPM_ALG_ID, which need not be one that is taken. */
export interface SelectedBank {
  algorithm: number;
  registers: number[];
}

/** Throws MigrateError "bug" unless the registers are 0 to 23, each once, in order, and at least one. */
export function requireSelection({ registers }: PcrSelection): void {
  const inOrder = registers.every(
    (register, at) =>
      Number.isInteger(register) &&
      register >= 0 &&
      register < registerCount &&
      (at === 0 || register > (registers[at - 1] ?? 0)),
  );
  if (registers.length === 0 || !inOrder)
    throw new MigrateError("bug", `Registers ${registers.join(",")} are no selection.`);
}

/**
 * Registers as a person writes them (`7`, `0-7,14`), in order, each once. Throws MigrateError "usage", whose message ends a
 * sentence that begins with the flag.
 */
export function parseRegisters(text: string): number[] {
  const registers = registersIn(text);
  if (registers === null)
    throw new MigrateError(
      "usage",
      `must be registers from 0 to ${registerCount - 1}, as in 0-7,14, not "${text}"`,
    );
  return registers;
}

/** As parseRegisters, of a bank where one is named before them (`sha384:0,7`), else of sha256. */
export function parseSelection(text: string): PcrSelection {
  const [, named = "sha256", list = ""] = /^(?:([a-z0-9]+):)?(.*)$/.exec(text) ?? [];
  const bank = banks.find((name) => name === named);
  const registers = registersIn(list);
  if (registers === null || bank === undefined)
    throw new MigrateError(
      "usage",
      `must be registers from 0 to ${registerCount - 1}, as in 7 or sha384:0-7,14, not "${text}"`,
    );
  return { bank, registers };
}

function registersIn(text: string): number[] | null {
  const registers = new Set<number>();
  for (const part of text.split(",")) {
    const [, from, to = from] = /^(\d{1,2})(?:-(\d{1,2}))?$/.exec(part) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === undefined || first > last || last >= registerCount) return null;
    for (let register = first; register <= last; register++) registers.add(register);
  }
  return [...registers].sort((one, other) => one - other);
}

/** The selection as TPML_PCR_SELECTION. Throws MigrateError "bug" as requireSelection. */
export function encodeSelection(selection: PcrSelection): Buffer {
  requireSelection(selection);
  const bitmap = Buffer.alloc(bitmapBytes);
  for (const register of selection.registers) bitmap[register >> 3]! |= 1 << (register & 7);
  return Buffer.concat([u32(1), u16(bankHash(selection.bank).id), u8(bitmapBytes), bitmap]);
}

/** Reads a TPML_PCR_SELECTION; throws the reader's fault. */
export function readSelections(reader: StructureReader): SelectedBank[] {
  return Array.from({ length: reader.count(mostBanks) }, () => {
    const algorithm = reader.u16();
    const bytes = reader.u8();
    if (bytes > bitmapBytes) throw reader.fault("it names registers that no platform has");
    const bitmap = reader.bytes(bytes);
    const registers: number[] = [];
    for (let register = 0; register < bytes * 8; register++)
      if (((bitmap[register >> 3] ?? 0) & (1 << (register & 7))) !== 0) registers.push(register);
    return { algorithm, registers };
  });
}

/** Whether what was read is exactly this selection: one bank, the same registers. */
export function isSelection(read: readonly SelectedBank[], wanted: PcrSelection): boolean {
  const [only] = read;
  return (
    read.length === 1 &&
    only?.algorithm === bankHash(wanted.bank).id &&
    only.registers.join() === wanted.registers.join()
  );
}

/**
 * The digest over the registers' values in order that a quote holds; SHA-256 is that of the signature. `registers`
 * are hex values by number. Null where one of the selection is missing.
 */
export function digestOfRegisters(
  selection: PcrSelection,
  registers: ReadonlyMap<number, string>,
): Buffer | null {
  const hash = createHash("sha256");
  for (const register of selection.registers) {
    const value = registers.get(register);
    if (value === undefined || value.length !== bankHash(selection.bank).bytes * 2) return null;
    hash.update(Buffer.from(value, "hex"));
  }
  return hash.digest();
}
