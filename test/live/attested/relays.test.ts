/**
 * A man in the middle with whom both hosts are paired, who passes on all that they say: what the destination proves, it
 * proves to him, and he cannot hand it on. It does not help him that he has a good TPM of his own.
 */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readPolicy, writePolicy } from "../../../src/attestation/policy/policy-file.ts";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { draftOf } from "../../../src/migration/operator/attest/record-host.ts";
import { asMigrateError } from "../../../src/protocol/errors.ts";
import { MadeUpPlatform } from "../../support/attestation/made-up-platform.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import { ManInTheMiddle } from "../../support/hostile/man-in-the-middle.ts";
import { recordChip } from "../../support/hostile/proving-source.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { sendOnce } from "../../support/moves/sending.ts";
import { killChildren } from "../../support/system/child.ts";
import { startChip } from "../../support/tpm/chip.ts";

let ground: HostileGround;
let man: ManInTheMiddle;
let his: RawIdentity;
/** A source's home that is paired with him, at the place where he stands. */
let home: string;
let count = 0;

const folder = mkdtempSync(join(tmpdir(), "migrate-chip-"));
const env = { MIGRATE_TPM: `swtpm:${join(folder, "s")}` };

testsAttackDestination({ attesting: { proves: true, demands: false, env } }, async (made) => {
  ground = made;
  await startChip(folder);
  his = await ground.trustedSource();
});

afterEach(() => man.close());

afterAll(async () => {
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

async function stand(): Promise<void> {
  man = await ManInTheMiddle.open(ground.port, his);
  home = openHome(join(ground.root, `source-home-${++count}`));
  await loadIdentity(home);
  await TrustFile.load(home).add(his.fingerprint, "destination", `127.0.0.1:${man.port}`);
}

const address = () => ({ host: "127.0.0.1", port: man.port });

/** Sends a VM through him with --attest; gives what the source says then. He must not hear its name. */
async function refusal() {
  const vm = makeSmallVm(join(ground.root, `outside/relayed${count}`));
  const { error, done } = await sendOnce({
    home,
    vm: vm.spec,
    address: address(),
    secure: true,
    attests: true,
  });
  expect(done).toBeUndefined();
  expect(man.overheard.toString("latin1")).not.toContain(vm.name);
  return error!;
}

// [ATT-2]
describe("a quote that he passes on", () => {
  test("is not asked for, where the source has recorded the destination and not him", async () => {
    await stand();
    await recordChip(home, ground.home, env);
    const error = await refusal();
    expect(error.code).toBe("attestation");
    expect(error.message).toBe(`this host has no policy for ${his.fingerprint}`);
    expect(man.overheard.toString("latin1")).not.toContain("nonce");
  });

  test("is not signed by his TPM, where the source has recorded him", async () => {
    await stand();
    new MadeUpPlatform().recordIn(home, his.fingerprint);
    const error = await refusal();
    expect(error.code).toBe("attestation");
    expect(error.message).toContain("is not signed by the attestation key that is on record");
  });

  test("is bound to his connection, where the source has the destination's key on record for him", async () => {
    await stand();
    await recordChip(home, ground.home, env);
    const { fingerprint } = await loadIdentity(ground.home);
    const { policy } = readPolicy(home, fingerprint)!;
    writePolicy(home, { ...policy, host: his.fingerprint });
    const error = await refusal();
    expect(error.code).toBe("attestation");
    expect(error.message).toContain("was made for another connection, session or question");
  });
});

// [ATT-1]
test("an enrolment that he passes on does not make the destination's keys his", async () => {
  await stand();
  const passphrase = () => Promise.reject(new Error("none"));
  const thrown = await draftOf({ home, address: address(), name: "hostb", passphrase }).then(
    () => undefined,
    asMigrateError,
  );
  expect(thrown?.code).toBe("attestation");
  expect(thrown?.message).toBe("the attestation key that was shown is not in the TPM of the endorsement key");
  expect(readPolicy(home, his.fingerprint)).toBeNull();
});

test("without him between them the destination is recorded, and gets the VM", async () => {
  await stand();
  await recordChip(ground.sourceHome, ground.home, env);
  ground.honest = { attests: true };
  await ground.expectServing();
});
