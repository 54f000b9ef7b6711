/** A destination goes on demanding proofs where they were demanded once: of a host, and for a session that was begun with them. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { HostileGround } from "../../support/hostile/hostile-ground.ts";
import { ProvingSource } from "../../support/hostile/proving-source.ts";
import { newVmName } from "../../support/hostile/raw/session.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { startServing } from "../../support/moves/serving.ts";

let ground: HostileGround;

testsAttackDestination({}, (made) => {
  ground = made;
});

const demanded = {
  code: "attestation",
  message: "the destination takes VMs only from hosts that prove what they run",
};

// [ATT-5]
test("of a source with attest=required in the trust file a proof is demanded, and of no other", async () => {
  const source = await ProvingSource.of(ground);
  const other = await ProvingSource.of(ground, { recorded: false });
  const trust = join(ground.home, "trust");
  const required = readFileSync(trust, "utf8").replace(
    new RegExp(`^(${source.identity.fingerprint} source \\S+)`, "m"),
    "$1 attest=required",
  );
  writeFileSync(trust, required);
  const refused = await ground.connect({ identity: source.identity });
  const welcome = await refused.hello({ session: "1".repeat(32), attempt: 1 }).expect("welcome");
  expect(welcome.demands).toBe(true);
  refused.sendJson("offer", new RawVm(newVmName()).offer());
  expect(await refused.error()).toEqual(demanded);

  const at = await source.join();
  await source.prove(at);
  expect((await at.peer.offer(new RawVm(newVmName()).offer())).state).toBe("receiving");
  const { peer } = await other.join();
  expect((await peer.offer(new RawVm(newVmName()).offer())).state).toBe("receiving");
});

test("a source that is not asked for one cannot have itself asked", async () => {
  const source = await ProvingSource.of(ground);
  const { peer } = await source.join();
  peer.send("attest", {});
  expect(await peer.error()).toEqual({
    code: "attestation",
    message: "nothing has to be proven on this connection",
  });
});

// [ATT-8]
test("a session that was begun with proofs goes on with proofs, whoever serves it", async () => {
  const strict = await HostileGround.make({ attesting: { proves: false, demands: true, env: {} } });
  try {
    const source = await ProvingSource.of(strict);
    const vm = new RawVm(newVmName());
    const first = await source.join();
    await source.prove(first);
    expect((await first.peer.offer(vm.offer())).state).toBe("receiving");
    first.peer.close();
    await strict.serving.stop();
    // Now without --require-attestation.
    const serving = await startServing({ home: strict.home, store: strict.store, secure: true });
    strict.serving = Object.assign(serving, { store: strict.store });

    const again = await strict.connect({ identity: source.identity });
    const welcome = await again.hello({ session: first.session, attempt: 2 }).expect("welcome");
    expect(welcome.demands).toBe(true);
    again.sendJson("offer", vm.offer());
    expect(await again.error()).toEqual(demanded);

    const third = await source.join(first.session, 3);
    await source.prove(third);
    expect((await third.peer.offer(vm.offer())).state).toBe("receiving");
    // Another session was not begun so.
    const { peer } = await source.join();
    expect((await peer.offer(new RawVm(newVmName()).offer())).state).toBe("receiving");
  } finally {
    await strict.close();
  }
});

// [ATT-7]
describe("without authentication", () => {
  test("a destination that demands proofs takes nothing, and proves nothing", async () => {
    const open = await HostileGround.make({
      secure: false,
      attesting: { proves: true, demands: true, env: { MIGRATE_TPM: "swtpm:/nowhere" } },
    });
    try {
      for (const name of ["offer", "ask"] as const) {
        const peer = await open.connect();
        const welcome = await peer.hello({ session: "2".repeat(32), attempt: 1 }).expect("welcome");
        expect([welcome.attests, welcome.demands]).toEqual([undefined, undefined]);
        peer.sendJson(name, new RawVm(newVmName()).offer());
        expect(await peer.error()).toEqual(demanded);
      }
      const peer = await open.connect();
      await peer.join();
      peer.send("enrol", { nonce: "0".repeat(64) });
      expect(await peer.error()).toEqual({
        code: "attestation",
        message: "the destination does not prove what it runs",
      });
      expect(open.sessions()).toEqual([]);
    } finally {
      await open.close();
    }
  });
});
