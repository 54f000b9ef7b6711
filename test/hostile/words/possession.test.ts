/** READY proves what lies on the destination's disk when it is said, and not what came there once. */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { possessionProof } from "../../../src/transfer/landing/possession.ts";
import { tagsOf } from "../../../src/transfer/landing/read-tags.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;
testsAttackDestination({}, (made) => {
  ground = made;
});

/** READY's proof for a VM of one file, and what it must be; `meanwhile` happens between transfer and seal. */
async function proofs(meanwhile: (staged: string) => void): Promise<{ said: unknown; right: string }> {
  const vm = new RawVm(`vm-${randomBytes(4).toString("hex")}`);
  const identity = await ground.trustedSource();
  const peer = await ground.joined(identity);
  const accepted = await peer.offer(vm.offer());
  expect(accepted.proves).toBe(true);
  const lane = await ground.connect({ identity });
  await lane.hello({ role: "lane", session: peer.session, laneToken: accepted.laneToken }).expect("welcome");
  await lane.sendChunks(vm.chunks());
  const [{ name, content }] = vm.files as [RawVm["files"][number]];
  meanwhile(ground.staged(peer.session, name));
  const challenge = randomBytes(32);
  const seal = { ...vm.seal(), challenge: challenge.toString("hex") };
  const { proof: said } = await peer.send("seal", seal).expect("ready");
  const path = join(ground.root, "outside", vm.name);
  writeFileSync(path, content);
  const fd = openSync(path, "r");
  try {
    const tagKey = Buffer.from(vm.tagKey, "hex");
    const tables = [await tagsOf({ path, file: 0, bytes: content.length, tagKey })];
    const of = { tagKey, challenge, digest: seal.digest };
    return { said, right: possessionProof(of, tables, () => fd) };
  } finally {
    closeSync(fd);
    await peer.send("cancel", {}).expect("cancelled");
  }
}

// [DIGEST-5]
test("the destination proves what it has", async () => {
  const { said, right } = await proofs(() => {});
  expect(said).toBe(right);
});

// [DIGEST-5]
test("what was changed on its disk since it came is no proof", async () => {
  const { said, right } = await proofs((staged) => writeFileSync(staged, "x", { flag: "r+" }));
  expect(said).toMatch(/^[0-9a-f]{64}$/);
  expect(said).not.toBe(right);
});
