/** What a guest shows of its virtual TPM, again and again: what it has extended, and what it can unseal. */
import { expect } from "bun:test";
import type { Printed } from "../../moves/whole-move.ts";
import type { ArrivedGuest } from "../arrived-guest.ts";
import { pcr16AfterExtend, tpmSecret } from "../tpm-guest.ts";

/** What the guest's looks into its TPM showed, in order: the PCR and what it could unseal. */
function looksIn({ serialText }: { serialText: string }): string[] {
  // A last line may be half printed when it is looked at: it has no end yet.
  return [...serialText.matchAll(/^(?:pcr16 \w+|unsealed .*?|tpm refused.*?)(?=\r?\n)/gm)].map(([line]) =>
    line.trim(),
  );
}
const goodLooks = [`pcr16 ${pcr16AfterExtend}`, `unsealed ${tpmSecret}`];

/** Waits until the guest has looked into its TPM under this QEMU, from the beginning to the end of a look. */
export async function looked(guest: { log: ArrivedGuest["log"] }, times = 1): Promise<void> {
  const all = (text: string) =>
    looksIn({ serialText: text }).filter((line) => line.startsWith("unsealed")).length;
  await guest.log.waitUntil((text) => all(text) > times, "a look into the TPM");
}

/** Throws (by `expect`) where a look showed another PCR or no secret, or the TPM refused anything. */
export function expectGoodLooks(...stations: Printed[]): void {
  const looks = looksIn({ serialText: stations.map((station) => station.serialText()).join("") });
  expect(looks.length).toBeGreaterThan(3);
  expect(new Set(looks)).toEqual(new Set(goodLooks));
}
