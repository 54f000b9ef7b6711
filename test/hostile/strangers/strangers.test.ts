/** Who has not been let in: without a ticket, with a bad one, with no certificate, or with no idea. */
import { describe, expect, test } from "bun:test";
import { randomBytes, X509Certificate } from "node:crypto";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { Ticket } from "../../../src/channel/ticket.ts";
import { wrongProofsMax } from "../../../src/channel/ticket-book.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";

let ground: HostileGround;
let stranger: RawIdentity;

testsAttackDestination({}, async (made) => {
  ground = made;
  stranger = await makeIdentity();
});

/** HELLO and WELCOME of one who is not known. */
async function welcomed(identity = stranger) {
  const peer = await ground.connect({ identity });
  const { trusted } = await peer.hello().expect("welcome");
  expect(trusted).toBe(false);
  return peer;
}

describe("a source that the destination does not know", () => {
  test.each(["offer", "seal", "release", "publish", "confirm", "cancel", "list", "query"] as const)(
    "cannot say %s without a ticket",
    async (name) => {
      await ground.withstands(async () => {
        const peer = await welcomed();
        peer.sendJson(name, {});
        expect(await peer.error()).toEqual({
          code: "protocol",
          message: `a ${name} frame is not expected here`,
        });
        await peer.ended();
      });
    },
  );

  test("cannot use a ticket that was never issued", async () => {
    await ground.withstands(async () => {
      const { fingerprint } = await loadIdentity(ground.home);
      const invented = new Ticket(randomBytes(8), randomBytes(16), fingerprint).toText();
      const peer = (await welcomed()).pair(invented);
      await peer.refused("ticket-invalid", "The destination does not know this ticket.");
    });
  });

  // [PAIR-2]
  test("cannot use a ticket twice, as itself or as somebody else", async () => {
    const serving = await ground.another();
    const first = await ground.connect({ identity: await makeIdentity(), port: serving.address.port });
    await first.join({ ticket: serving.ticket });
    await ground.withstands(async () => {
      for (const identity of [await makeIdentity(), await makeIdentity()]) {
        const peer = await ground.connect({ identity, port: serving.address.port });
        await peer.hello().expect("welcome");
        peer.pair(serving.ticket!);
        expect((await peer.error()).code).toBe("ticket-used");
        await peer.ended();
      }
    });
    await serving.stop();
  });

  // [PAIR-2]
  test("cannot use a ticket that has expired", async () => {
    const serving = await ground.another({ ticketTtlMs: 1 });
    await ground.withstands(async () => {
      const peer = await ground.connect({ identity: stranger, port: serving.address.port });
      await peer.hello().expect("welcome");
      peer.pair(serving.ticket!);
      expect(await peer.error()).toEqual({ code: "ticket-expired", message: "The ticket has expired." });
    });
    await serving.stop();
  });

  test("cannot guess a proof, and a ticket that was guessed at too often is good for nobody", async () => {
    const serving = await ground.another();
    await ground.withstands(async () => {
      const connect = async () => {
        const peer = await ground.connect({ identity: stranger, port: serving.address.port });
        await peer.hello().expect("welcome");
        return peer;
      };
      for (let i = 0; i < wrongProofsMax; i++) {
        const peer = await connect();
        peer.pair(serving.ticket!, randomBytes(32));
        expect(await peer.error()).toEqual({
          code: "ticket-invalid",
          message: "The proof of the ticket is wrong for this connection.",
        });
      }
      const right = (await connect()).pair(serving.ticket!);
      expect(await right.error()).toEqual({
        code: "ticket-invalid",
        message: "The ticket was withdrawn after too many wrong proofs.",
      });
    });
    await serving.stop();
  });

  test("cannot prove a ticket for another certificate than the one it shows", async () => {
    await ground.withstands(async () => {
      const other = await makeIdentity();
      const peer = await welcomed();
      peer.pair(ground.ticket, peer.exporter(), other.fingerprint);
      expect((await peer.error()).code).toBe("ticket-invalid");
    });
  });

  test("is a stranger with a certificate of the same name as a host that is known", async () => {
    // Every host's certificate has the same name in it: it is the fingerprint that counts.
    const known = await ground.trustedSource();
    const lookalike = await makeIdentity();
    const name = ({ certificatePem }: RawIdentity) => new X509Certificate(certificatePem).subject;
    expect(name(lookalike)).toBe(name(known));
    await ground.withstands(async () => {
      const peer = await welcomed(lookalike);
      peer.send("list", {});
      expect((await peer.error()).code).toBe("protocol");
    });
  });
});

describe("a connection", () => {
  // [TLS-2]
  test("without a certificate is told so", async () => {
    await ground.withstands(async () => {
      const peer = await ground.connect();
      expect(await peer.hello().error()).toEqual({
        code: "not-trusted",
        message: "the source showed no certificate",
      });
      await peer.ended();
    });
  });

  // [TLS-1]
  test("of TLS 1.2 is refused by an alert that names the version", async () => {
    await ground.withstands(async () => {
      const attempt = ground.connect({ identity: stranger, maxVersion: "TLSv1.2" });
      expect(await attempt.catch((error: Error) => error.message)).toContain("PROTOCOL_VERSION");
    });
  });

  test.each([
    ["frames", Buffer.from("0000000201027b7d", "hex")],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
    ["zeros", Buffer.alloc(65_536)],
    ["noise", randomBytes(65_536)],
    ["a TLS record of a length that cannot be", Buffer.from("160303ffff01", "hex")],
  ])("of plain bytes (%s) to the TLS port is closed", async (_what, bytes) => {
    await ground.withstands(async () => {
      const peer = await ground.connect({ tls: false });
      peer.sendBytes(bytes);
      await peer.ended();
      expect(peer.frames).toEqual([]);
    });
  });

  test("that is cut within the TLS handshake or within a frame leaves nothing", async () => {
    await ground.withstands(async () => {
      const shaking = await ground.connect({ tls: false });
      shaking.sendBytes(Buffer.from("160301", "hex"));
      shaking.socket.resetAndDestroy();
      for (const bytes of [1, 4, 5, 6, 40]) {
        const peer = await ground.connect({ identity: stranger });
        const frame = Buffer.concat([Buffer.from("0000003c01", "hex"), Buffer.alloc(60, "{")]);
        peer.sendBytes(frame.subarray(0, bytes));
        peer.socket.end();
        await peer.ended();
      }
    });
  });
});

describe("the first message", () => {
  const first: [string, Buffer | string | object, { code: string; message: string | RegExp }][] = [
    ["of no known type", "00000000ff", { code: "protocol", message: "unknown frame type 255" }],
    ["of type 0", "0000000000", { code: "protocol", message: "unknown frame type 0" }],
    [
      "of 2^32 - 1 bytes",
      "ffffffff01",
      { code: "protocol", message: "a hello frame of 4294967295 bytes exceeds the limit of 4096" },
    ],
    [
      "of one byte too many",
      "0000100101",
      { code: "protocol", message: "a hello frame of 4097 bytes exceeds the limit of 4096" },
    ],
    ["that is a CHUNK", "0000000020", { code: "protocol", message: "a chunk frame is not expected here" }],
    ["that is an OFFER", "0000000006", { code: "protocol", message: "a offer frame is not expected here" }],
    ["that is a PAIR", "00000002047b7d", { code: "protocol", message: "a connection begins with HELLO" }],
    ["that is a WELCOME", "00000002027b7d", { code: "protocol", message: "a connection begins with HELLO" }],
    ["that is no JSON", "00000002017b7b", { code: "protocol", message: "a hello message is not JSON" }],
    ["that is no UTF-8", "0000000201fffe", { code: "protocol", message: "a hello message is not JSON" }],
    ["that is empty", "0000000001", { code: "protocol", message: "a hello message is not JSON" }],
    [
      "of version 0",
      { version: 0, role: "control", software: "x" },
      { code: "version", message: "this host speaks version 2 of the protocol, not 0" },
    ],
    [
      "of version 3 with other fields",
      { version: 3, task: "control" },
      { code: "version", message: "this host speaks version 2 of the protocol, not 3" },
    ],
    [
      "of a role that is none",
      { version: 2, role: "owner", software: "x" },
      { code: "protocol", message: /^hello\.role: / },
    ],
    [
      "with a session that is a path",
      { version: 2, role: "control", software: "x", session: "../../../../etc/cron.d/x" },
      { code: "protocol", message: /^hello\.session: / },
    ],
    [
      "with an attempt below zero",
      { version: 2, role: "control", software: "x", attempt: -1 },
      { code: "protocol", message: /^hello\.attempt: / },
    ],
    [
      "of a lane that names no session",
      { version: 2, role: "lane", software: "x" },
      { code: "protocol", message: "a lane names its session and its token" },
    ],
    [
      "with an escape sequence for the terminal",
      { version: 2, role: "\u001b]0;owned\u0007\u009b2J\u202e", software: "x" },
      { code: "protocol", message: /^hello\.role: / },
    ],
  ];
  // [STAND-1] [VER-1]
  test.each(first)("%s is answered with a sentence", async (_what, sent, { code, message }) => {
    await ground.withstands(async () => {
      const peer = await ground.connect({ identity: stranger });
      if (typeof sent === "string") peer.sendBytes(Buffer.from(sent, "hex"));
      else peer.sendJson("hello", sent);
      const error = await peer.error();
      expect(error.code).toBe(code);
      if (typeof message === "string") expect(error.message).toBe(message);
      else expect(error.message).toMatch(message);
      await peer.ended();
    });
  });
});

describe("a stranger that talks too much", () => {
  test("is cut off after a handful of signs of life", async () => {
    await ground.withstands(async () => {
      const peer = await welcomed();
      for (let i = 0; i < 1000; i++) peer.send("ping", {});
      await peer.refused("protocol", "too many messages from a source that was not let in");
    });
  });

  test("cannot say HELLO twice, nor PAIR twice", async () => {
    const serving = await ground.another();
    await ground.withstands(async () => {
      const again = await welcomed();
      expect(await again.hello().error()).toEqual({ code: "protocol", message: "expected pair, got hello" });
      const peer = await ground.connect({ identity: await makeIdentity(), port: serving.address.port });
      await peer.join({ ticket: serving.ticket });
      expect(await peer.pair(serving.ticket!).error()).toEqual({
        code: "protocol",
        message: "a pair message is not expected here",
      });
    });
    await serving.stop();
  });

  // [HELLO-4]
  test("cannot reach the store as a lane", async () => {
    await ground.withstands(async () => {
      const lane = await ground.connect({ identity: stranger });
      lane.sendJson("hello", {
        version: limits.version,
        role: "lane",
        software: "x",
        session: "0".repeat(32),
        laneToken: "0".repeat(32),
      });
      await lane.refused("policy", "this lane belongs to no session that is being received");
    });
  });
});

test("what strangers said reaches the destination's own screen without a control character", async () => {
  await ground.hasTold("hello.role");
  for (const event of ground.serving.events) {
    if (event.event !== "warning") continue;
    expect(event.message).not.toMatch(/[\p{Cc}\u202e]/u);
  }
});
