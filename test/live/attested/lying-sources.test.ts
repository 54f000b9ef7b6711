/** Sources that skip their proof, use it twice or lie in it, at a destination that demands one: nothing is taken of them. */
import { afterAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProofChange } from "../../support/attestation/made-up-platform.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import { chipOfHonest, ProvingSource } from "../../support/hostile/proving-source.ts";
import { newVmName } from "../../support/hostile/raw/session.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { killChildren } from "../../support/system/child.ts";

let ground: HostileGround;
/** Of the honest source's chip: outside of what is compared before and after an attack. */
const folder = mkdtempSync(join(tmpdir(), "migrate-chip-"));

testsAttackDestination({ attesting: { proves: false, demands: true, env: {} } }, async (made) => {
  ground = made;
  await chipOfHonest(ground, folder);
});

afterAll(async () => {
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

const demanded = {
  code: "attestation",
  message: "the destination takes VMs only from hosts that prove what they run",
};

const attest = { except: ["destination-home/attest"] };

// [ATT-5]
describe("a source that skips its proof", () => {
  test.each(["offer", "ask", "start", "seal"] as const)(
    "and says %s is refused, and nothing is kept of it",
    async (name) => {
      const source = await ProvingSource.of(ground);
      const before = ground.sessions().length;
      await ground.withstands(async () => {
        const { peer, session } = await source.join();
        const vm = new RawVm(newVmName());
        peer.sendJson(name, { offer: vm.offer(), ask: vm.offer(), start: {}, seal: vm.seal() }[name]);
        expect(await peer.error()).toEqual(demanded);
        await peer.ended();
        expect(ground.isStaged(session)).toBe(false);
        expect(ground.sessions().length).toBe(before);
      });
    },
  );

  test("and says OFFER in place of it, once it is asked, is refused", async () => {
    const source = await ProvingSource.of(ground);
    const before = ground.sessions().length;
    await ground.withstands(async () => {
      const { peer, session } = await source.join();
      await peer.send("attest", {}).expect("challenge");
      peer.sendJson("offer", new RawVm(newVmName()).offer());
      expect((await peer.error()).code).toBe("protocol");
      expect(ground.isStaged(session)).toBe(false);
      expect(ground.sessions().length).toBe(before);
    });
  });

  test("and says VERDICT itself is refused", async () => {
    const source = await ProvingSource.of(ground);
    const { peer } = await source.join();
    peer.sendJson("verdict", {});
    expect((await peer.error()).code).toBe("protocol");
  });
});

// [ATT-5]
describe("one proof", () => {
  test("is asked for before OFFER and again before SEAL, and then the VM is taken", async () => {
    const source = await ProvingSource.of(ground);
    const at = await source.join();
    const { peer, session } = at;
    const vm = new RawVm(newVmName(), [{ kind: "ram", name: "ram", content: Buffer.alloc(0) }]);
    await source.prove(at);
    await peer.offer(vm.offer());
    await source.prove(at);
    peer.sendJson("seal", vm.seal());
    await peer.expect("ready");
    peer.send("release", {});
    await peer.expect("owned");
    peer.send("confirm", {});
    await peer.expect("closed");
    expect(ground.sessions().find((one) => one.session === session)?.state).toBe("closed");
    rmSync(join(ground.store, vm.name), { recursive: true });
  });

  test.each(["seal", "start"] as const)("that OFFER has used is worth nothing for %s", async (name) => {
    const source = await ProvingSource.of(ground);
    const at = await source.join();
    const { peer, session } = at;
    const vm = new RawVm(newVmName(), [{ kind: "ram", name: "ram", content: Buffer.alloc(0) }]);
    await source.prove(at);
    await peer.offer(vm.offer());
    peer.sendJson(name, { seal: vm.seal(), start: {} }[name]);
    expect(await peer.error()).toEqual(demanded);
    await peer.ended();
    const record = ground.sessions().find((one) => one.session === session);
    expect(record?.state).toBe("receiving");
    expect(record?.digest ?? "").toBe("");
  });

  test("is worth nothing for two SEALs", async () => {
    const source = await ProvingSource.of(ground);
    const at = await source.join();
    const { peer } = at;
    const vm = new RawVm(newVmName(), [{ kind: "ram", name: "ram", content: Buffer.alloc(0) }]);
    await source.prove(at);
    await peer.offer(vm.offer());
    await source.prove(at);
    peer.sendJson("seal", vm.seal());
    await peer.expect("ready");
    peer.sendJson("seal", vm.seal());
    expect(await peer.error()).toEqual(demanded);
  });

  test("of an earlier connection is worth nothing on the next one", async () => {
    const source = await ProvingSource.of(ground);
    const first = await source.join();
    await source.prove(first);
    first.peer.close();
    const { peer } = await source.join(first.session, 2);
    peer.sendJson("offer", new RawVm(newVmName()).offer());
    expect(await peer.error()).toEqual(demanded);
  });
});

const { privateKey: stranger } = generateKeyPairSync("ec", { namedCurve: "P-256" });

// [ATT-2] [ATT-3]
describe("a quote of a source", () => {
  test.each([
    ["of another connection", { binding: { exporter: Buffer.alloc(32, 9) } }, /another connection/],
    ["in the role of a destination", { binding: { role: "destination" } }, /another connection/],
    ["of another session", { binding: { session: "cd".repeat(16) } }, /another connection/],
    ["of another attempt", { binding: { attempt: 2 } }, /another connection/],
    ["to another host", { binding: { verifier: `sha256:${"1".repeat(64)}` } }, /another connection/],
    ["for another nonce", { nonce: "5".repeat(64) }, /another connection/],
    ["over fewer registers", { selections: [{ bank: "sha256", registers: [0] }] }, /not over the registers/],
    ["by another key", { key: stranger }, /not signed by the attestation key/],
    ["of another state", { registers: { 4: "44".repeat(32) } }, /not in the state that was recorded/],
  ] satisfies [string, ProofChange, RegExp][])(
    "%s is refused, and nothing is kept of a VM",
    async (_, change, message) => {
      const source = await ProvingSource.of(ground);
      const before = ground.sessions().length;
      await ground.withstands(async () => {
        const at = await source.join();
        await source.show(at, change);
        const error = await at.peer.error();
        expect(error.code).toBe("attestation");
        expect(error.message).toMatch(message);
        await at.peer.ended();
        expect(ground.sessions().length).toBe(before);
      }, attest);
    },
  );

  // [ATT-6]
  test.each([
    ["another state", { registers: { 4: "44".repeat(32) } }, /not in the state that was recorded/],
    ["that its TPM was reset", { clock: { resetCount: 8 } }, /was reset between two proofs/],
    ["that it was suspended", { clock: { restartCount: 3 } }, /was reset between two proofs/],
  ] satisfies [string, ProofChange, RegExp][])(
    "that shows %s before SEAL ends it",
    async (_, change, message) => {
      const source = await ProvingSource.of(ground);
      const at = await source.join();
      await source.prove(at);
      await at.peer.offer(new RawVm(newVmName()).offer());
      await source.show(at, change);
      const error = await at.peer.error();
      expect(error.code).toBe("attestation");
      expect(error.message).toMatch(message);
      expect(ground.sessions().find(({ session }) => session === at.session)?.state).toBe("receiving");
    },
  );
});

describe("a source that nobody has recorded", () => {
  test("and that shows no keys is refused, and nothing is kept of it", async () => {
    const source = await ProvingSource.of(ground, { recorded: false });
    await ground.withstands(async () => {
      const { peer } = await source.join();
      await peer.send("attest", {}).expect("enrol");
      const akPublic = source.platform.akPublic.toString("base64");
      peer.send("enrolled", { ekPublic: akPublic, akPublic });
      expect((await peer.error()).code).toBe("attestation");
    });
    // What recorded ones have proven in place of what is recorded waits for a person.
    const names = readdirSync(join(ground.home, "attest"));
    const unknown = names.filter(
      (name) => name.endsWith(".seen") && !names.includes(name.replace(".seen", ".policy")),
    );
    expect(unknown).toEqual([]);
  });
});
