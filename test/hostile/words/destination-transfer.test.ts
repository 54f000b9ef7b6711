/** A destination that lies about what it has, and about what it was sent. */
import { describe, expect, test } from "bun:test";
import { exitCodes } from "../../../src/protocol/errors.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import type { Script, Visit } from "../../support/hostile/hostile-destination.ts";
import { accept, laneToken, letIn, takeChunks } from "../../support/hostile/hostile-destination.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

let source: TrickedSource;

testsAttackSource((made) => {
  source = made;
});

describe("in answer to the offer", () => {
  const answers =
    (...frames: [string, unknown][]): Script =>
    async (visit) => {
      await letIn(visit);
      for (const [name, body] of frames) visit.peer.sendJson(name as "accept", body);
    };
  const receiving = { state: "receiving", laneToken, inventory: false };
  test.each([
    ["OWNED", answers(["owned", {}]), "protocol", "expected accept, got owned"],
    [
      "READY",
      answers(["ready", { digest: `sha256:${"0".repeat(64)}` }]),
      "protocol",
      "expected accept, got ready",
    ],
    ["CLOSED", answers(["closed", {}]), "protocol", "expected accept, got closed"],
    [
      "ACCEPT of a state that is none",
      answers(["accept", { ...receiving, state: "yours" }]),
      "protocol",
      /^accept\.state/,
    ],
    [
      "ACCEPT with a lane token that is a path",
      answers(["accept", { ...receiving, laneToken: "../../x" }]),
      "protocol",
      /^accept\.laneToken/,
    ],
    [
      "ACCEPT as published in a move",
      answers(["accept", { ...receiving, state: "published" }]),
      "protocol",
      /the destination said accepted/,
    ],
  ] as [string, Script, string, string | RegExp][])(
    "%s ends the send, and the VM stays",
    async (_what, control, code, message) => source.expectOwner(control, code, message),
  );

  test("ACCEPT as its owner is a doubt that a person has to look at, and nothing is deleted", async () => {
    const { error, record } = await source.sendTo(answers(["accept", { ...receiving, state: "owner" }]));
    expect(error.code).toBe("in-doubt");
    expect(error.exitCode).toBe(exitCodes.inDoubt);
    expect(error.message).toContain("which this host never released");
    expect(record?.state).toBe("sending");
  });
});

describe("silence", () => {
  const timing = { pingMs: 50, silenceMs: 300 };
  test.each<[string, Script]>([
    [
      "in answer to the offer",
      async (visit) => {
        await letIn(visit);
        await visit.peer.closed;
      },
    ],
    [
      "instead of the inventory's end",
      async (visit) => {
        await letIn(visit);
        accept(visit.peer, { inventory: true });
        await visit.peer.closed;
      },
    ],
    [
      "during the transfer",
      async (visit) => {
        await letIn(visit);
        accept(visit.peer);
        await visit.peer.closed;
      },
    ],
  ])("%s is a lost link: tried again, and given up in time", async (_what, control) => {
    const begun = performance.now();
    const lane = async ({ peer }: Visit) => {
      peer.send("welcome", { version: 2, software: "x", trusted: true });
      await peer.closed;
    };
    const { error, destination, record } = await source.sendTo(control, { timing, lane });
    expect(error.code).toBe("network");
    expect(error.exitCode).toBe(exitCodes.network);
    expect(destination.controls).toBeGreaterThan(1);
    expect(record?.state).toBe("sending");
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
});

describe("an INVENTORY", () => {
  const tags = (file: number, first: number, tagCount: number) => {
    const payload = Buffer.alloc(8 + tagCount * limits.tagBytes, 7);
    payload.writeUInt32BE(file, 0);
    payload.writeUInt32BE(first, 4);
    return payload;
  };
  const inventory =
    (...payloads: Buffer[]): Script =>
    async (visit) => {
      await letIn(visit);
      accept(visit.peer, { inventory: true });
      for (const payload of payloads) visit.peer.sendFrame("inventory", payload);
      await visit.peer.closed;
    };
  const outside = "tags came for chunks that the VM does not have";
  test.each([
    ["of a file that the VM does not have", inventory(tags(2, 0, 1)), outside],
    ["of file 2^32 - 1", inventory(tags(2 ** 32 - 1, 0, 1)), outside],
    ["from behind the file's end", inventory(tags(0, 3, 1)), outside],
    ["from chunk 2^32 - 1 on", inventory(tags(0, 2 ** 32 - 1, 1)), outside],
    ["over the file's end", inventory(tags(0, 2, 2)), outside],
    ["of half a tag", inventory(tags(0, 0, 1).subarray(0, 16)), outside],
    ["without its head", inventory(Buffer.alloc(4)), outside],
    ["longer than any", inventory(tags(0, 0, 4097)), /^a inventory frame of \d+ bytes exceeds the limit/],
    [
      "of every tag over and over",
      inventory(...Array.from({ length: 64 }, () => tags(0, 0, 3))),
      "more tags came than the VM has chunks",
    ],
    ["of nothing over and over", inventory(...Array.from({ length: 64 }, () => tags(0, 0, 0))), /tags came/],
  ] as [string, Script, string | RegExp][])(
    "%s ends the send, and the VM stays",
    async (_what, control, message) => source.expectOwner(control, "protocol", message),
  );

  test("that ACCEPT did not announce ends the send", () =>
    source.expectOwner(
      async (visit) => {
        await letIn(visit);
        accept(visit.peer);
        visit.peer.sendFrame("inventory", tags(0, 0, 1));
        await visit.peer.closed;
      },
      "protocol",
      "tags came unasked",
    ));

  test("that comes during the transfer ends the send", async () => {
    const transferring = Promise.withResolvers<void>();
    await source.expectOwner(
      async (visit) => {
        await letIn(visit);
        accept(visit.peer);
        await transferring.promise;
        visit.peer.sendFrame("inventory", tags(0, 0, 1));
        await visit.peer.closed;
      },
      "protocol",
      "tags came unasked",
      {
        lane: async ({ peer }: Visit) => {
          peer.send("welcome", { version: 2, software: "x", trusted: true });
          await peer.next();
          transferring.resolve();
        },
      },
    );
  });
});

describe("on a lane", () => {
  const patient: Script = async (visit) => {
    await letIn(visit);
    accept(visit.peer);
    await visit.peer.closed;
  };
  const lane = (script: (visit: Visit) => Promise<void>) => ({
    lane: async (visit: Visit) => {
      visit.peer.send("welcome", { version: 2, software: "x", trusted: true });
      await script(visit);
    },
  });
  const acks = (...places: [number, number][]) => {
    const payload = Buffer.alloc(places.length * 8);
    places.forEach(([file, chunk], i) => {
      payload.writeUInt32BE(file, i * 8);
      payload.writeUInt32BE(chunk, i * 8 + 4);
    });
    return payload;
  };
  test.each([
    [
      "ACK of a chunk that was never sent",
      lane(async ({ peer }) => void peer.sendFrame("ack", acks([7, 7]))),
      "protocol",
      "a chunk was acknowledged that was not sent",
    ],
    [
      "ACK of one chunk twice",
      lane(async ({ peer }) => {
        const { payload } = await peer.next();
        peer.sendFrame("ack", Buffer.concat([payload.subarray(0, 8), payload.subarray(0, 8)]));
      }),
      "protocol",
      "a chunk was acknowledged that was not sent",
    ],
    [
      "ACK cut in the middle",
      lane(async ({ peer }) => void peer.sendFrame("ack", Buffer.alloc(7))),
      "protocol",
      /./,
    ],
    [
      "ACK of more than its limit",
      lane(async ({ peer }) => void peer.sendFrame("ack", Buffer.alloc(1025 * 8))),
      "protocol",
      /exceeds the limit/,
    ],
    [
      "OWNED",
      lane(async ({ peer }) => void peer.send("owned", {})),
      "protocol",
      "a owned frame is not expected here",
    ],
    [
      "a CHUNK for the source",
      lane(async ({ peer }) => void peer.sendFrame("chunk", Buffer.alloc(40))),
      "protocol",
      "a chunk frame is not expected here",
    ],
    [
      "ERROR",
      lane(
        async ({ peer }) =>
          void peer.send("error", { code: "no-room", message: "the destination's disk is full" }),
      ),
      "no-room",
      "the destination's disk is full",
    ],
  ] as [string, object, string, string | RegExp][])(
    "%s ends the send, and the VM stays",
    async (_what, options, code, message) => source.expectOwner(patient, code, message, options),
  );

  test("another certificate than the control connection's is not spoken to", async () => {
    const other = await makeIdentity();
    let chunks = 0;
    const control: Script = async (visit) => {
      await letIn(visit);
      visit.server.setSecureContext({ cert: other.certificatePem, key: other.privateKeyPem });
      accept(visit.peer);
      await visit.peer.closed;
    };
    const counting = async (visit: Visit) => {
      chunks++;
      await takeChunks(visit);
    };
    await source.expectOwner(control, "wrong-identity", /^another host answered at /, { lane: counting });
    expect(chunks).toBe(0);
  });
});
