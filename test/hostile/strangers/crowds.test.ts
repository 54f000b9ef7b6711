/** Many at once, and slow ones: those who hold a place without using it do not keep others out [STAND-7]. */
import { describe, expect, test } from "bun:test";
import { connect as connectTcp, type Socket } from "node:net";
import { deadlines } from "../../../src/protocol/limits.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { until } from "../../support/system/until.ts";

let ground: HostileGround;
let stranger: RawIdentity;
const crowd = 300;

testsAttackDestination({}, async (made) => {
  ground = made;
  stranger = await makeIdentity();
});

/** One that comes so far and then says nothing. */
const idlers: [string, (port: number) => Promise<RawPeer>][] = [
  ["have not begun the TLS handshake", (port) => ground.connect({ port, tls: false })],
  [
    "stopped in the middle of the TLS handshake",
    async (port) => (await ground.connect({ port, tls: false })).sendBytes(Buffer.from("16030100c8", "hex")),
  ],
  ["have not said HELLO", (port) => ground.connect({ port, identity: stranger })],
  [
    "have said half a HELLO",
    async (port) =>
      (await ground.connect({ port, identity: stranger })).sendBytes(Buffer.from("0000004001", "hex")),
  ],
  [
    "have shown no ticket",
    async (port) => {
      const peer = await ground.connect({ port, identity: stranger });
      await peer.hello().expect("welcome");
      return peer;
    },
  ],
];

describe(`${crowd} strangers at once who`, () => {
  test.each(idlers)("%s keep neither a known source nor a new one out", async (_what, make) => {
    const serving = await ground.another();
    const { port } = serving.address;
    try {
      const peers: RawPeer[] = [];
      for (let made = 0; made < crowd; made += 50) {
        peers.push(...(await Promise.all(Array.from({ length: 50 }, () => make(port)))));
      }
      // The crowd is really there: whoever was sent away to make room is not most of it.
      expect(peers.filter(({ isClosed }) => !isClosed).length).toBeGreaterThan(50);
      await ground.expectServing(serving);
      const invited = await ground.connect({ identity: await makeIdentity(), port });
      await invited.join({ ticket: serving.ticket });
    } finally {
      await serving.stop();
    }
  });
});

test("a thousand connections a second from one address cost another address none", async () => {
  const flood: Socket[] = [];
  let made = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < 20; i++) {
      const socket = connectTcp({ host: "127.0.0.1", port: ground.port, localAddress: "127.0.0.9" });
      socket.on("error", () => {});
      flood.push(socket);
      made++;
    }
    for (const socket of flood.splice(0, Math.max(0, flood.length - 400))) socket.destroy();
  }, 20);
  try {
    // More than all places, before anybody honest is there.
    await until(() => made > 500, "the flood");
    for (let round = 0; round < 3; round++) {
      const slow = await Promise.all(
        Array.from({ length: 10 }, () => ground.connect({ tls: false, host: "127.0.0.1" })),
      );
      const before = made;
      // As long as two round trips of a long path take, and then some.
      await until(() => made > before + 300, "more of the flood");
      expect(slow.filter(({ isClosed }) => isClosed)).toEqual([]);
      for (const peer of slow) peer.close();
      await ground.expectServing();
    }
  } finally {
    clearInterval(timer);
    for (const socket of flood) socket.destroy();
  }
});

test("who takes too long is closed: in the handshake, before HELLO, within HELLO, before the ticket", async () => {
  const begun = performance.now();
  const peers = await Promise.all(idlers.map(([, make]) => make(ground.port)));
  const dripping = await ground.connect({ identity: stranger });
  const drip = setInterval(() => dripping.sendBytes(Buffer.from([0])), 500);
  try {
    for (const peer of [...peers, dripping]) await peer.ended(deadlines.helloMs + 5000);
  } finally {
    clearInterval(drip);
  }
  expect(performance.now() - begun).toBeGreaterThan(deadlines.helloMs - 1000);
  expect(peers.at(-1)!.frames.at(-1)!.payload.toString()).toBe(
    '{"code":"not-trusted","message":"no ticket was shown in time"}',
  );
  await ground.expectServing();
}, 30_000);

describe("a trusted source that falls silent", () => {
  test.each([
    ["after HELLO", Buffer.alloc(0)],
    ["within a frame's header", Buffer.from("0000", "hex")],
    ["within a message", Buffer.from("0000004006", "hex")],
  ])("%s is closed, however much of a frame it drips", async (_what, bytes) => {
    const serving = await ground.another({ timing: { pingMs: 50, silenceMs: 400 } });
    const identity = await ground.trustedSource();
    const peer = await ground.connect({ identity, port: serving.address.port });
    await peer.join();
    peer.sendBytes(bytes);
    const drip = setInterval(() => bytes.length > 0 && peer.sendBytes(Buffer.from("7b")), 100);
    try {
      await peer.ended(5000);
    } finally {
      clearInterval(drip);
      await serving.stop();
    }
  });
});

test("who was told to go and stays is cut off", async () => {
  const peer = await ground.connect({ identity: stranger, allowHalfOpen: true });
  await peer.hello().expect("welcome");
  peer.send("list", {});
  expect((await peer.error()).code).toBe("protocol");
  // The other end says no more; this one goes on and on, until the connection is gone altogether.
  const nag = setInterval(() => peer.sendBytes(Buffer.alloc(1024)), 20);
  try {
    await peer.gone(5000);
  } finally {
    clearInterval(nag);
  }
  await ground.expectServing();
});
