/**
 * A real log, test/vectors/logs/*.txt: what it is (`comment:`), registers as `BANK NUMBER: hex`, a blank line, and the
 * log in base64.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Bank, PlatformState } from "../../../src/attestation/structures/platform-state.ts";

const folder = join(import.meta.dir, "../../vectors/logs");

export interface LogVector {
  bytes: Buffer;
  registers: ReadonlyMap<Bank, ReadonlyMap<number, string>>;
}

export function logVector(name: string): LogVector {
  const [head = "", body = ""] = readFileSync(join(folder, `${name}.txt`), "utf8").split("\n\n");
  const registers = new Map<Bank, Map<number, string>>([
    ["sha256", new Map()],
    ["sha384", new Map()],
  ]);
  for (const [, bank, number, value] of head.matchAll(/^(sha\d+) (\d+): ([0-9a-f]+)$/gm))
    registers.get(bank as Bank)!.set(Number(number), value!);
  return { bytes: Buffer.from(body, "base64"), registers };
}

/** What a host shows that has booted so. */
export function stateOf(
  events: LogVector,
  ima: LogVector | null = null,
  bank: Bank = "sha256",
): PlatformState {
  return {
    bank,
    registers: new Map([...events.registers.get(bank)!, ...(ima?.registers.get(bank) ?? [])]),
    clock: { clockMs: 1000, resetCount: 1, restartCount: 0, safe: true },
    firmwareVersion: "0000000000000000",
    eventLog: events.bytes,
    imaLog: ima?.bytes ?? null,
  };
}
