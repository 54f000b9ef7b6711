/** A destination that a source trusts and should not, from the first word to the errors it reports. */
import { describe, expect, test } from "bun:test";
import { exitCodes } from "../../../src/protocol/errors.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { accept, letIn, type Script } from "../../support/hostile/hostile-destination.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

let source: TrickedSource;

testsAttackSource((made) => {
  source = made;
});

describe("at the greeting", () => {
  const greetings: [string, Script, string, string | RegExp][] = [
    [
      "a WELCOME that is no JSON",
      async ({ peer }) => void peer.sendFrame("welcome", Buffer.from("\u001b[2J")),
      "protocol",
      "a welcome message is not JSON",
    ],
    [
      "a WELCOME of another version",
      async ({ peer }) => void peer.sendJson("welcome", { version: 3 }),
      "version",
      /version 2 of the protocol, not 3/,
    ],
    [
      "a WELCOME without the word whether it trusts us",
      async ({ peer }) => void peer.sendJson("welcome", { version: 2, software: "x" }),
      "protocol",
      /^welcome\.trusted/,
    ],
    ["an ACCEPT in its place", async ({ peer }) => accept(peer), "protocol", "expected welcome, got accept"],
    [
      "OWNED in its place",
      async ({ peer }) => void peer.send("owned", {}),
      "protocol",
      "expected welcome, got owned",
    ],
    ["a HELLO of its own", async ({ peer }) => void peer.hello(), "protocol", "expected welcome, got hello"],
    [
      "INVENTORY",
      async ({ peer }) => void peer.sendFrame("inventory", Buffer.alloc(24)),
      "protocol",
      "expected welcome, got inventory",
    ],
    [
      "a CHUNK",
      async ({ peer }) => void peer.sendFrame("chunk", Buffer.alloc(34)),
      "protocol",
      "a chunk frame is not expected here",
    ],
    [
      "a frame of 2^32 - 1 bytes",
      async ({ peer }) => void peer.sendBytes(Buffer.from("ffffffff02", "hex")),
      "protocol",
      /^a welcome frame of 4294967295 bytes exceeds the limit/,
    ],
    [
      "noise",
      async ({ peer }) => void peer.sendBytes(Buffer.alloc(4096, 0xee)),
      "protocol",
      "unknown frame type 238",
    ],
    [
      "PAIRED to a source that it knows",
      async ({ peer }) => {
        peer.send("welcome", { version: 2, software: "x", trusted: true });
        peer.send("paired", {});
      },
      "protocol",
      "expected accept, got paired",
    ],
    [
      "more messages than anybody could mean",
      async ({ peer }) => {
        for (let i = 0; i < 100; i++) peer.send("paired", {});
      },
      "protocol",
      "expected welcome, got paired",
    ],
  ];
  test.each(greetings)("%s ends the send, and the VM stays", async (_what, control, code, message) =>
    source.expectOwner(control, code, message),
  );

  test("the proof is good for this destination alone: its ticket says nothing that another could use", async () => {
    let proof = "";
    await source.sendTo(async ({ peer }) => {
      peer.send("welcome", { version: 2, software: "x", trusted: false });
      proof = (await peer.expect("pair")).proof;
      peer.send("error", { code: "ticket-used", message: "no" });
    });
    expect(proof).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("an ERROR", () => {
  const says =
    (code: string, message: string): Script =>
    async ({ peer }) =>
      void peer.sendJson("error", { code, message });
  test.each([
    [
      "of 1 MiB",
      says("policy", "x".repeat(1024 * 1024)),
      "protocol",
      /^a error frame of \d+ bytes exceeds the limit/,
    ],
    ["of 100 KiB", says("policy", "x".repeat(100 * 1024)), "protocol", /^error\.message: /],
    ["with a code that is none", says("launch-missiles", "now"), "protocol", "now"],
    ["with the code of an interrupted program", says("interrupted", "you did"), "protocol", "you did"],
    ["with the code of a wrong call", says("usage", "you did"), "protocol", "you did"],
    ["that says that the VM was moved away", says("not-owner", "it is gone"), "protocol", "it is gone"],
    [
      "that is no object",
      async ({ peer }) => void peer.sendFrame("error", Buffer.from("7")),
      "protocol",
      /^error\./,
    ],
    ["with escape sequences", says("policy", "\u001b]0;owned\u0007\u009b2J\r\nok\u202e"), "policy", /ok/],
    ["whose code is a property of every object", says("constructor", "x"), "protocol", "x"],
  ] as [string, Script, string, string | RegExp][])("%s", async (_what, control, code, message) =>
    source.expectOwner(control, code, message),
  );

  test("that blames the network is tried again until the patience ends, and no longer", async () => {
    const begun = performance.now();
    const { error, destination, record } = await source.sendTo(says("network", "busy for a moment"));
    expect(error.code).toBe("network");
    expect(error.exitCode).toBe(exitCodes.network);
    expect(destination.controls).toBeGreaterThan(1);
    expect(performance.now() - begun).toBeLessThan(5000);
    expect([undefined, "sending"]).toContain(record?.state as string | undefined);
  });

  test("that blames the network at a later moment does not make the source try for good", async () => {
    const begun = performance.now();
    const { error, destination, record } = await source.sendTo(async (visit) => {
      await letIn(visit);
      accept(visit.peer);
      visit.peer.send("error", { code: "network", message: "again" });
    });
    expect(error.code).toBe("network");
    expect(destination.controls).toBeGreaterThan(1);
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(record?.state).toBe("sending");
  });
});
