/** A VM's own policy, where the other side does not keep to it, or does not know it. */
import { describe, expect, test } from "bun:test";
import { policyDigest } from "../../../src/protocol/vm-policy.ts";
import { testsAttackDestination, testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { letIn } from "../../support/hostile/hostile-destination.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

describe("a destination", () => {
  let ground: HostileGround;
  let source: RawIdentity;
  testsAttackDestination({ maxSessions: 8 }, async (made) => {
    ground = made;
    source = await ground.trustedSource();
  });

  const rules = (onlyAttested: boolean, noCopies: boolean) => ({
    ...{ onlyAttested, noCopies },
    digest: policyDigest({ onlyAttested, noCopies }),
  });
  const copy = new RawVm("web1", undefined, "copy");
  const move = new RawVm("web1");
  // [RULE-2] [RULE-3]
  test.each<[string, Record<string, unknown>, string, string]>([
    [
      "a copy of a VM that is not copied",
      copy.offer({ policy: rules(false, true) }),
      "policy",
      "is not copied",
    ],
    [
      "a VM that goes to attested hosts alone",
      move.offer({ policy: rules(true, false) }),
      "attestation",
      "prove what they run",
    ],
    [
      "a rule that it does not know",
      move.offer({
        policy: { ...rules(false, true), onlyOnMondays: true, digest: `sha256:${"7".repeat(64)}` },
      }),
      "policy",
      "rules that the destination does not know",
    ],
    ["a policy without its digest", move.offer({ policy: { noCopies: true } }), "protocol", "policy.digest"],
  ])("refuses %s, and keeps nothing of it", async (_, offer, code, message) => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      const error = await peer.sendJson("offer", offer).error();
      expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
      await peer.ended();
      expect(ground.sessions().find(({ session }) => session === peer.session)).toBeUndefined();
    });
  });
});

describe("a source", () => {
  let source: TrickedSource;
  testsAttackSource((made) => {
    source = made;
  });

  // [RULE-1]
  test("tells a destination nothing of a VM that has a policy, if that does not know such", async () => {
    let offered = false;
    const vmPolicy = { onlyAttested: false, noCopies: true };
    const { error } = await source.sendTo(
      async (visit) => {
        await letIn(visit);
        offered = true;
      },
      { vmPolicy },
    );
    expect(error).toMatchObject({ code: "version", message: expect.stringContaining("does not know such") });
    expect(offered).toBe(false);
  });
});
