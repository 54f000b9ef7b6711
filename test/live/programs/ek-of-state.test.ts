/**
 * Which TPM a state is of, asked of a real swtpm. The states were made by swtpm 0.7.1, and tpm2_createek (tpm2-tools 5.4,
 * -G ecc) said what the keys of `one` and `other` are; `locked` is `one` with a password on its endorsement hierarchy,
 * `sealed` was made with --key.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ekOfState } from "../../../src/vm/tpm/ek-of-state.ts";

const state = (name: string) =>
  readFileSync(join(import.meta.dir, "../../fixtures/swtpm-0.7.1", `${name}.permall`));
const one = "sha256:2ad090cf28bf8bdef05a5606d37a41cc6929cc7574032fda0e5579a34376754b";
const other = "sha256:90ac15a1349e204c5f703acfae48189b8d4cca8a62019cd0e6802e4dae1337f3";
const copies = () => readdirSync("/dev/shm").filter((name) => name.startsWith(`migrate-ek-${process.pid}-`));

test("is the key that another tool gets of it, with a password on it or not", async () => {
  expect(await ekOfState(state("one"))).toEqual({ ek: one });
  expect(await ekOfState(state("other"))).toEqual({ ek: other });
  expect(await ekOfState(state("locked"))).toEqual({ ek: one });
  expect(existsSync("/dev/shm") ? copies() : []).toEqual([]);
}, 30_000);

test("is not guessed of a state that is encrypted, damaged, or none", async () => {
  const damaged = state("one");
  damaged.fill(0xff, 200, 400);
  const found = await Promise.all(
    [state("sealed"), damaged, Buffer.alloc(0), Buffer.alloc(5000, 1), null].map((one) => ekOfState(one)),
  );
  expect(found).toEqual([
    { unknown: expect.stringContaining("is encrypted") },
    { unknown: expect.any(String) },
    { unknown: expect.any(String) },
    { unknown: expect.any(String) },
    { unknown: "it has no state of a TPM 2.0" },
  ]);
}, 60_000);
