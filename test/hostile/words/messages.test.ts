/** Messages that have no place on a source's control connection, or are none. */
import { describe, expect, test } from "bun:test";
import { frameTypes } from "../../../src/protocol/frames.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { offered } from "../../support/hostile/raw/session.ts";

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({}, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

/** A session of a new VM whose offer was accepted. */
const accepted = () => offered(ground, source);

describe("on a control connection", () => {
  const answers = [
    ["welcome", { version: 2, software: "x", trusted: true }],
    ["paired", {}],
    ["accept", { state: "owner", laneToken: "0".repeat(32), inventory: false }],
    ["inventoryEnd", {}],
    ["ready", { digest: `sha256:${"0".repeat(64)}` }],
    ["owned", {}],
    ["published", {}],
    ["closed", {}],
    ["cancelled", {}],
    ["state", { session: "0".repeat(32), state: "owner" }],
    ["sessions", { rows: [] }],
    ["hello", { version: 2, role: "control", software: "x" }],
    ["pair", { ticket: "0".repeat(16), proof: "0".repeat(64) }],
  ] as const;
  test.each(answers)("a source cannot say %s", async (name, body) => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      expect(await peer.sendJson(name, body).error()).toEqual({
        code: "protocol",
        message: `a ${name} message is not expected here`,
      });
      await peer.ended();
    });
  });

  test("a source cannot say INVENTORY", async () => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      expect(await peer.sendFrame("inventory", Buffer.alloc(24)).error()).toEqual({
        code: "protocol",
        message: "tags came unasked",
      });
    });
  });

  test.each(["chunk", "ack"] as const)("bulk frames (%s) have no place", async (name) => {
    const { peer } = await accepted();
    expect(await peer.sendFrame(name, Buffer.alloc(40)).error()).toEqual({
      code: "protocol",
      message: `a ${name} frame is not expected here`,
    });
    await ground.expectServing();
  });

  test("ERROR ends it, whatever its code says", async () => {
    await ground.withstands(async () => {
      for (const code of ["bug", "network", "in-doubt", "no-such-code"]) {
        const peer = await ground.joined(source);
        peer.send("error", { code, message: "\u001b[2Jx" });
        await peer.ended();
      }
    });
  });

  test("messages that are too long are refused by their header alone", async () => {
    await ground.withstands(async () => {
      for (const [name, type] of Object.entries(frameTypes)) {
        if (name === "chunk" || name === "ack") continue;
        const peer = await ground.joined(source);
        const header = Buffer.alloc(5);
        header.writeUInt32BE(2 ** 32 - 1, 0);
        header.writeUInt8(type, 4);
        const { code, message } = await peer.sendBytes(header).error();
        expect([name, code]).toEqual([name, "protocol"]);
        expect(message).toMatch(/exceeds the limit|is not expected here/);
      }
    });
  });

  test("a message within a message is read as what it is", async () => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      const hidden = '{"name":"release","body":{}}';
      expect((await peer.sendFrame("seal", Buffer.from(hidden)).error()).code).toBe("protocol");
    });
  });

  test("JSON as deep as a message can be does no harm", async () => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      const deep = "[".repeat(100_000) + "]".repeat(100_000);
      expect((await peer.sendFrame("offer", Buffer.from(deep)).error()).message).toMatch(/^offer\./);
    });
  });
});
