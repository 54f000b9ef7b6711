/** `migrate explain --attest`: not even the question is asked of a destination that has not proven what it runs. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { candidateOf } from "../../../src/migration/providers/candidates.ts";
import { dryRun } from "../../../src/migration/source/dry-run.ts";
import { asMigrateError } from "../../../src/protocol/errors.ts";
import type { ProofChange } from "../../support/attestation/made-up-platform.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import type { Script } from "../../support/hostile/hostile-destination.ts";
import { ProvingDestination } from "../../support/hostile/proving-destination.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

let source: TrickedSource;
let count = 0;

testsAttackSource((made) => {
  source = made;
});

/** Asks a destination with this script, without a session; gives what ended it. */
async function asked(there: ProvingDestination, control: Script) {
  const { identity: its, root } = source;
  const { address } = await source.openDestination({ identity: its, control });
  const folder = join(root, `asking-${++count}`);
  const home = openHome(join(folder, "home"));
  await there.prepare(home);
  await TrustFile.load(home).add(its.fingerprint, "destination", `${address.host}:${address.port}`);
  const { spec } = makeSmallVm(join(folder, "web1"));
  const mode = "move";
  const candidate = candidateOf(spec, { home, bandwidthBytesPerSec: null, retryForMs: 0, mode });
  const identity = await loadIdentity(home);
  const to = { address, identity, attests: true };
  return await dryRun(candidate, { home, mode, after: "keep", to }).then(() => undefined, asMigrateError);
}

/** Proves itself, and hangs up once it is asked. */
const asksOnce =
  (there: ProvingDestination, change: ProofChange): Script =>
  async (visit) => {
    there.welcome(visit, { asks: true });
    await there.proveUntil(visit, () => change);
    visit.peer.close();
  };

// [ATT-5]
test("a destination that proves itself is asked", async () => {
  const there = new ProvingDestination(source);
  expect((await asked(there, asksOnce(there, {})))?.code).toBe("network");
  expect(there.said).toEqual(["challenge", "ask"]);
});

test.each([
  ["of a session", { binding: { session: "1".repeat(32), attempt: 1 } }],
  ["of another state", { registers: { 0: "01".repeat(32) } }],
] satisfies [string, ProofChange][])("one whose proof is %s is not", async (_, change) => {
  const there = new ProvingDestination(source);
  expect((await asked(there, asksOnce(there, change)))?.code).toBe("attestation");
  expect(there.said).toEqual(["challenge"]);
});

test("nor is one that does not prove itself", async () => {
  const there = new ProvingDestination(source);
  const error = await asked(there, async (visit) => {
    there.welcome(visit, { asks: true, attests: false });
    await there.next(visit);
  });
  expect(error?.message).toBe("the destination does not prove what it runs");
  expect(there.said).toEqual([]);
});
