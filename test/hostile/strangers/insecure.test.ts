/** A destination that serves with --insecure knows nobody, and still takes nothing that makes no sense. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;

testsAttackDestination({ secure: false }, (made) => {
  ground = made;
});

const joined = async (session: string, attempt = 1) => (await ground.connect()).join({ session, attempt });
const newSession = () => randomBytes(16).toString("hex");

describe("to a port without TLS", () => {
  test("a TLS handshake is answered with a sentence, in the clear", async () => {
    await ground.withstands(async () => {
      const peer = await ground.connect();
      peer.sendBytes(Buffer.from("16030100c8010000c40303", "hex"));
      await peer.refused("insecure-mismatch", "the other side speaks TLS, and this side does not");
    });
  });

  test("a TLS client's handshake fails, and the server serves on", async () => {
    await ground.withstands(async () => {
      const attempt = ground.connect({ tls: true, identity: await makeIdentity() });
      expect(await attempt.catch((error: Error) => error.message)).toMatch(
        /WRONG_VERSION_NUMBER|ECONNRESET|closed/,
      );
    });
  });

  test.each([
    ["noise", randomBytes(4096)],
    ["a frame of 2^32 - 1 bytes", Buffer.from("ffffffff01", "hex")],
    ["HTTP", Buffer.from("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")],
    ["a chunk", Buffer.concat([Buffer.from("0000002020", "hex"), Buffer.alloc(32)])],
  ])("%s is turned away with a sentence", async (_what, bytes) => {
    await ground.withstands(async () => {
      const peer = await ground.connect();
      expect((await peer.sendBytes(bytes).error()).code).toBe("protocol");
      await peer.ended();
    });
  });

  test("names that would be paths are refused", async () => {
    await ground.withstands(async () => {
      for (const name of ["..", "../x", "a/b", "x\0", "x".repeat(10_000), ".migrate-x"]) {
        const peer = await joined(newSession());
        const { code } = await peer.sendJson("offer", new RawVm("x").offer({ name })).error();
        expect([name.slice(0, 20), code]).toEqual([name.slice(0, 20), "name-invalid"]);
      }
    });
  });
});

test("who comes without TLS has no part in the sessions of those who came with it", async () => {
  // One host may serve both ways, at different times, with one journal.
  const secure = await ground.another({ secure: true });
  const source = await ground.trustedSource();
  const vm = new RawVm("secret");
  const owner = await ground.connect({ port: secure.address.port, tls: true, identity: source });
  const session = newSession();
  await owner.join({ session });
  const { laneToken } = await owner.offer(vm.offer());
  await ground.withstands(async () => {
    for (const name of ["seal", "release", "publish", "confirm"] as const) {
      const peer = await joined(session, 9);
      const body = name === "seal" ? vm.seal() : {};
      expect((await peer.sendJson(name, body).error()).code).toBe("unknown-session");
    }
    expect((await (await joined(session, 9)).sendJson("offer", vm.offer()).error()).code).toBe(
      "unknown-session",
    );
    const asking = await joined(session, 9);
    await asking.send("cancel", {}).expect("cancelled");
    expect((await asking.send("query", { session }).expect("state")).state).toBe("unknown");
    expect((await asking.send("list", {}).expect("sessions")).rows.map((row) => row.name)).not.toContain(
      "secret",
    );
    const lane = await ground.connect();
    expect((await lane.hello({ role: "lane", session, laneToken }).error()).code).toBe("policy");
    const crossing = await ground.connect({
      port: secure.address.port,
      tls: true,
      identity: await makeIdentity(),
    });
    expect((await crossing.hello({ role: "lane", session, laneToken }).error()).code).toBe("policy");
  });
  // And the owner goes on as if nothing had been.
  const again = await ground.connect({ port: secure.address.port, tls: true, identity: source });
  await again.join({ session, attempt: 2 });
  const accepted = await again.offer(vm.offer());
  const lane = await ground.connect({ port: secure.address.port, tls: true, identity: source });
  await lane.hello({ role: "lane", session, laneToken: accepted.laneToken }).expect("welcome");
  await lane.sendChunks(vm.chunks());
  again.send("seal", vm.seal());
  await again.expect("ready");
  await again.send("release", {}).expect("owned");
  const there = readFileSync(join(secure.store, "secret", "secret.ram"));
  expect(there.equals(vm.files[0]!.content)).toBe(true);
  ground.leave();
  await secure.stop();
});
