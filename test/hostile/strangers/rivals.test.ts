/**
 * Two sources that the destination trusts, one of which wants the other's VM: it knows the session's
 * id and its lane token, and still can do nothing with them, nor learn that the session exists.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, newSession } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { newVmName } from "../../support/hostile/raw/session.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;
let owner: RawIdentity;
let rival: RawIdentity;

testsAttackDestination({}, async (made) => {
  ground = made;
  owner = await ground.trustedSource();
  rival = await ground.trustedSource();
});

type Stage = "receiving" | "ready" | "owner" | "closed";

/** The owner's session, brought so far. */
async function begin(stage: Stage) {
  const vm = new RawVm(newVmName());
  const peer = await ground.joined(owner);
  const { laneToken } = await peer.offer(vm.offer());
  const lane = await ground.connect({ identity: owner });
  await lane.hello({ role: "lane", session: peer.session, laneToken }).expect("welcome");
  const goOn = {
    receiving: async () => {
      await lane.sendChunks(vm.chunks());
      peer.send("seal", vm.seal());
      await peer.expect("ready");
    },
    ready: async () => void (await peer.send("release", {}).expect("owned")),
    owner: async () => void (await peer.send("confirm", {}).expect("closed")),
    closed: async () => {},
  };
  const order: Stage[] = ["receiving", "ready", "owner", "closed"];
  const at = order.indexOf(stage);
  for (const each of order.slice(0, at)) await goOn[each]();
  /** The owner ends what it began, and the VM is there. */
  const finish = async () => {
    for (const each of order.slice(at)) await goOn[each]();
    const there = readFileSync(join(ground.store, vm.name, `${vm.name}.ram`));
    expect(there.equals(vm.files[0]!.content)).toBe(true);
  };
  return { vm, session: peer.session, laneToken, finish };
}

/** What is said to the rival who asks `ask` of a session. */
async function answerTo(
  session: string,
  ask: (peer: RawPeer) => RawPeer,
  hello: Record<string, unknown> = {},
) {
  const peer = await ground.connect({ identity: rival });
  peer.hello({ session, attempt: 7, ...hello });
  if (hello.role !== "lane") await peer.expect("welcome");
  const { name, payload } = await ask(peer).next();
  peer.close();
  return `${name} ${payload.toString().replaceAll(session, "SESSION")}`;
}

describe.each<Stage>(["receiving", "ready", "owner", "closed"])("a session that is %s", (stage) => {
  test("is to another source as one that is not there, and goes on unharmed", async () => {
    const { vm, session, laneToken, finish } = await begin(stage);
    const questions: [string, (peer: RawPeer) => RawPeer, Record<string, unknown>?][] = [
      ["seal", (peer) => peer.send("seal", vm.seal())],
      ["release", (peer) => peer.send("release", {})],
      ["publish", (peer) => peer.send("publish", {})],
      ["confirm", (peer) => peer.send("confirm", {})],
      ["cancel", (peer) => peer.send("cancel", {})],
      ["query", (peer) => peer.send("query", { session })],
      ["lane", (peer) => peer, { role: "lane", laneToken }],
    ];
    for (const [what, ask, hello] of questions) {
      const nowhere = newSession();
      const askNowhere = what === "query" ? (peer: RawPeer) => peer.send("query", { session: nowhere }) : ask;
      const [theirs, nobodys] = [
        await answerTo(session, ask, hello),
        await answerTo(nowhere, askNowhere, hello),
      ];
      expect([what, theirs]).toEqual([what, nobodys]);
    }
    await finish();
  });

  test("cannot be offered again by another source, nor is it in its list", async () => {
    const { vm, session, finish } = await begin(stage);
    const offered = await answerTo(session, (peer) => peer.sendJson("offer", vm.offer()));
    expect(offered).toBe(
      'error {"code":"unknown-session","message":"the destination has no record of this session"}',
    );
    expect(await answerTo(session, (peer) => peer.send("list", {}))).toBe('sessions {"rows":[]}');
    await finish();
  });
});

test("a source that is no longer trusted cannot come back to its session", async () => {
  const leaver = await ground.trustedSource();
  const vm = new RawVm("left-behind");
  const peer = await ground.joined(leaver);
  await peer.offer(vm.offer());
  peer.close();
  await ground.distrust(leaver.fingerprint);
  const again = await ground.connect({ identity: leaver });
  const welcome = await again.hello({ session: peer.session, attempt: 2 }).expect("welcome");
  expect(welcome.trusted).toBe(false);
  expect((await again.sendJson("offer", vm.offer()).error()).code).toBe("protocol");
});
