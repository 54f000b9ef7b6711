/** What becomes of the TPM's state of a domain that has left, where an earlier one of it lies already. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { retireTpm } from "../../../../src/migration/providers/libvirt/domain-at-source.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retired-tpm-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const session = "0123456789abcdef0123456789abcdef";
const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";

/** The state as it is kept while the domain leaves. */
function keptState(text: string): { tpmStateDir: string } {
  const kept = join(folder, `${uuid}.migrate`);
  mkdirSync(kept);
  writeFileSync(join(kept, "tpm2-00.permall"), text);
  return { tpmStateDir: join(folder, uuid, "tpm2") };
}

test("state that an earlier move left stays, and this one's lies beside it", () => {
  retireTpm(keptState("first"), { after: "rename", session: "f".repeat(32) });
  retireTpm(keptState("second"), { after: "rename", session });
  expect(readdirSync(folder).sort()).toEqual([`${uuid}.migrated`, `${uuid}.migrated-01234567`]);
  const state = (name: string) => readFileSync(join(folder, name, "tpm2-00.permall"), "utf8");
  expect(state(`${uuid}.migrated`)).toBe("first");
  expect(state(`${uuid}.migrated-01234567`)).toBe("second");
});

test("it is deleted with the domain's files, and no earlier one", () => {
  retireTpm(keptState("first"), { after: "rename", session });
  retireTpm(keptState("second"), { after: "delete", session });
  expect(readdirSync(folder)).toEqual([`${uuid}.migrated`]);
});
