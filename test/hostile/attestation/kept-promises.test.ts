/** What a person has said of proofs once holds: in a policy, in the trust file, and for a session that was begun with them. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { policyPath } from "../../../src/attestation/policy/policy-file.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { record } from "../../../src/migration/operator/attest/record-host.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { accept, type HostileDestination, type Script } from "../../support/hostile/hostile-destination.ts";
import { ProvingDestination } from "../../support/hostile/proving-destination.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";
import { type SendingOptions, sendOnce } from "../../support/moves/sending.ts";

let source: TrickedSource;

testsAttackSource((made) => {
  source = made;
});

describe("a policy", () => {
  test("that is older than one that was in use is not used, and the VM is not told of", async () => {
    const there = new ProvingDestination(source);
    await there.expectUntold(
      there.honest(),
      /^the policy for sha256:[0-9a-f]{64} has version 1, and version 2 was in use before$/,
      {
        prepare: async (home) => {
          await there.prepare(home);
          const { fingerprint } = source.identity;
          const old = readFileSync(policyPath(home, fingerprint));
          const policy = there.platform.recordIn(home, fingerprint, { version: 2 });
          expect(record(home, { policy, before: null, changes: [] })).toBe(2);
          writeFileSync(policyPath(home, fingerprint), old);
        },
      },
    );
    expect(there.challenges).toEqual([]);
  });

  test("that a person has written, and that was used once, is not undone by an older one", async () => {
    const there = new ProvingDestination(source);
    const { home, send } = await sourceOf(there, there.honest());
    const { fingerprint } = source.identity;
    there.platform.recordIn(home, fingerprint, { version: 3 });
    expect((await send("vm1")).error).toBeUndefined();
    there.platform.recordIn(home, fingerprint, { version: 2 });
    const { error } = await send("vm2");
    expect(error).toMatchObject({
      code: "attestation",
      message: expect.stringContaining("version 3 was in use"),
    });
    expect(there.heard.filter((name) => name === "offer").length).toBe(1);
  });

  test("that is changed during a move does not hold for its second half", async () => {
    const there = new ProvingDestination(source);
    let home = "";
    const { error, record: session } = await source.sendTo(
      there.honest(() => {
        if (there.heard.includes("seal")) return {};
        there.platform.recordIn(home, source.identity.fingerprint, { version: 2, registers: [0] });
        return {};
      }),
      {
        attests: true,
        prepare: async (made) => {
          home = made;
          await there.prepare(made);
        },
      },
    );
    expect(error).toMatchObject({ code: "attestation", message: expect.stringContaining("was changed") });
    expect(session?.state).toBe("sending");
    expect(there.heard).not.toContain("release");
  });
});

// [ATT-5]
describe("a host with attest=required in the trust file", () => {
  const required = (there: ProvingDestination) => async (home: string) => {
    await there.prepare(home);
    const line = `${source.identity.fingerprint} destination elsewhere:7600 attest=required\n`;
    writeFileSync(join(openHome(home), "trust"), line, { mode: 0o600 });
  };

  test("proves itself without --attest, or is told nothing", async () => {
    const there = new ProvingDestination(source);
    await there.expectUntold(
      async (visit) => {
        there.welcome(visit, { attests: false });
        await there.next(visit);
      },
      "the destination does not prove what it runs",
      { attests: false, prepare: required(there) },
    );
    const other = new ProvingDestination(source);
    await other.expectUntold(
      other.honest(() => ({ registers: { 0: "01".repeat(32) } })),
      /not in the state that was recorded/,
      { attests: false, prepare: required(other) },
    );
    expect(other.challenges.length).toBe(1);
  });

  test("gets the VM once it has", async () => {
    const there = new ProvingDestination(source);
    const options = { attests: false, prepare: required(there), filesMayChange: true };
    const done = await source.sendTo(there.honest(), options).then(
      () => false,
      () => true,
    );
    expect(done).toBe(true);
    expect(there.heard).toEqual(["challenge", "offer", "seal", "challenge", "release", "confirm"]);
  });
});

// [ATT-8]
describe("a session that was begun with --attest", () => {
  /** Hangs up after the offer that comes first. */
  const cutOnce = (there: ProvingDestination, then: Script): Script => {
    let isCut = false;
    return async (visit) => {
      if (isCut) return await then(visit);
      isCut = true;
      there.welcome(visit);
      expect((await there.proveUntil(visit)).name).toBe("offer");
      visit.peer.close();
    };
  };

  test("goes on with proofs where the flag is left out, to a destination that gives them", async () => {
    const there = new ProvingDestination(source);
    const { send } = await sourceOf(there, cutOnce(there, there.honest()));
    expect((await send("vm1", { retryForMs: 0 })).error?.code).toBe("network");
    const { error } = await send("vm1", { attests: false });
    expect(error).toBeUndefined();
    const [first, ...rest] = there.heard.filter((name) => name !== "error");
    expect([first, ...rest]).toEqual([
      "challenge",
      "offer",
      "challenge",
      "offer",
      "seal",
      "challenge",
      "release",
      "confirm",
    ]);
  });

  test("is told nothing more of where the destination no longer gives them", async () => {
    const there = new ProvingDestination(source);
    const careless: Script = async (visit) => {
      there.welcome(visit, { attests: false });
      for (;;) if ((await there.next(visit)).name === "offer") accept(visit.peer);
    };
    const { send } = await sourceOf(there, cutOnce(there, careless));
    expect((await send("vm1", { retryForMs: 0 })).error?.code).toBe("network");
    const { error } = await send("vm1", { attests: false });
    expect(error).toMatchObject({
      code: "attestation",
      message: "the destination does not prove what it runs",
    });
    expect(there.heard.filter((name) => name === "offer").length).toBe(1);
  });
});

/** A source that is paired with the destination, and sends it one VM after the other. */
async function sourceOf(there: ProvingDestination, control: Script) {
  const { identity, root } = source;
  const destination: HostileDestination = await source.openDestination({ identity, control });
  const folder = join(root, `kept-${destination.address.port}`);
  const home = join(folder, "home");
  await there.prepare(home);
  const { host, port } = destination.address;
  await TrustFile.load(home).add(identity.fingerprint, "destination", `${host}:${port}`);
  const vms = new Map<string, ReturnType<typeof makeSmallVm>>();
  const send = async (name: string, change: Partial<SendingOptions> = {}) => {
    const vm = vms.get(name) ?? makeSmallVm(join(folder, name));
    vms.set(name, vm);
    const { address } = destination;
    return await sendOnce({ home, vm: vm.spec, address, secure: true, attests: true, ...change });
  };
  return { home, send };
}
