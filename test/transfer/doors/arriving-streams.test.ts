/** What the destination's main thread makes of what its doors say of streams. */
import { describe, expect, test } from "bun:test";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { ArrivingStreams } from "../../../src/transfer/doors/arriving-streams.ts";
import type { FromDoor, ToDoor } from "../../../src/transfer/doors/door-messages.ts";

const session = "ab".repeat(16);
const instance = "cd".repeat(16);
const token = "ef".repeat(16);
type State = Extract<FromDoor, { kind: "stream-state" }>;

function make() {
  const posted: { door: number | "all"; message: ToDoor }[] = [];
  const failures: MigrateError[] = [];
  let receivedBytes = 0;
  let handedOnBytes = 0;
  const arriving = new ArrivingStreams({
    session,
    peer: "insecure",
    instance,
    token,
    tagKey: new Uint8Array(16),
    doors: {
      post: (door, message) => posted.push({ door, message }),
      postAll: (message) => posted.push({ door: "all", message }),
    },
    path: (stream) => (stream < 3 ? `/run/${stream}` : null),
    failed: (error) => failures.push(error),
    received: (wireBytes, bytes) => {
      receivedBytes += wireBytes;
      handedOnBytes += bytes;
    },
  });
  const ask = (door: number, stream: number, shown = token) => {
    posted.length = 0;
    const origin = { conn: 7, peer: null, remote: "somewhere" };
    arriving.admit(door, { kind: "stream", ...origin, session, token: shown, stream });
    return posted.map(({ door: to, message }) => {
      if (message.kind !== "send") return `${to} ${message.kind}`;
      const { code } = JSON.parse(Buffer.from(message.bytes).subarray(5).toString()) as { code: string };
      return `${to} ${code}`;
    });
  };
  const say = (door: number, stream: number, change: Partial<State> = {}) =>
    arriving.receive(door, {
      kind: "stream-state",
      session,
      instance,
      stream,
      state: "ended",
      bytes: 5,
      digest: `sha256:${"0".repeat(64)}`,
      bytesReceived: 10,
      error: null,
      ...change,
    });
  return { arriving, posted, failures, ask, say, received: () => [receivedBytes, handedOnBytes] };
}

const failureOf = (promise: Promise<void>) =>
  promise.then(
    () => "none",
    (error: MigrateError) => `${error.code}: ${error.message}`,
  );

describe("the streams of a QEMU that was started", () => {
  // [STREAM-1]
  test("stay with the door that opened them first; another one hears that it has not", () => {
    const { ask } = make();
    expect(ask(1, 0)).toEqual(["1 open-stream"]);
    expect(ask(0, 0)).toEqual(["0 busy", "0 finish"]);
    expect(ask(1, 0)).toEqual(["1 open-stream"]);
    expect(ask(0, 1)).toEqual(["0 open-stream"]);
  });

  // [STREAM-1]
  test("are for who has their token, and a token of another length is none", () => {
    const { ask } = make();
    for (const wrong of ["", "ef", "00".repeat(16), `${token}ef`]) {
      expect(ask(0, 0, wrong)).toEqual(["0 policy", "0 finish"]);
    }
    expect(ask(0, 3)).toEqual(["0 policy", "0 finish"]);
  });

  // [STREAM-8]
  test("have ended where their own door says so, and all of them once each has", async () => {
    const { arriving, ask, say, received } = make();
    ask(0, 0);
    ask(1, 2);
    const all = arriving.allEnded([0, 2], 60_000);
    say(1, 0);
    say(0, 0, { instance: token });
    say(0, 0, { session: token });
    expect(arriving.results()).toEqual([]);
    expect(received()).toEqual([0, 0]);
    say(1, 2);
    say(0, 0, { bytes: 6 });
    await all;
    expect(arriving.results().map(({ stream, bytes }) => [stream, bytes])).toEqual([
      [0, 6],
      [2, 5],
    ]);
    // What is said once is said.
    say(0, 0, { bytes: 7 });
    expect(arriving.results()[0]!.bytes).toBe(6);
    await arriving.allEnded([0], 60_000);
  });

  test("are counted by what crossed the link, and by what of the VM that stood for", () => {
    const { ask, say, received } = make();
    ask(0, 0);
    ask(0, 1);
    say(0, 0, { state: "open", bytes: 1000, digest: null, bytesReceived: 300 });
    say(0, 1, { state: "open", bytes: 50, digest: null, bytesReceived: 80 });
    expect(received()).toEqual([380, 1050]);
    // What came waits for QEMU at first, and is handed on later.
    say(0, 0, { state: "open", bytes: 1000, digest: null, bytesReceived: 100 });
    say(0, 0, { bytes: 1400, bytesReceived: 0 });
    expect(received()).toEqual([480, 1450]);
  });

  test("that do not come to their end in time are named", async () => {
    const { arriving, ask, say } = make();
    ask(0, 0);
    ask(0, 1);
    say(0, 0);
    expect(await failureOf(arriving.allEnded([0, 1, 2], 1))).toBe(
      "integrity: streams have not come to their end: 1, 2",
    );
  });

  test("fail together, and once", async () => {
    const { arriving, ask, say, failures } = make();
    ask(0, 0);
    ask(0, 1);
    const all = failureOf(arriving.allEnded([0, 1], 60_000));
    const error = { code: "integrity" as const, message: "damaged" };
    for (const stream of [0, 1]) say(0, stream, { state: "failed", digest: null, error });
    expect(await all).toBe("integrity: damaged");
    expect(failures.map(({ message, side }) => [message, side])).toEqual([["damaged", "destination"]]);
    expect(ask(0, 2)).toEqual(["0 integrity", "0 finish"]);
  });

  test("that were dropped are there for nobody", () => {
    const { arriving, ask, posted } = make();
    ask(0, 0);
    posted.length = 0;
    arriving.drop();
    arriving.drop();
    expect(posted).toEqual([{ door: "all", message: { kind: "drop-streams", session } }]);
    expect(ask(0, 0)).toEqual(["0 policy", "0 finish"]);
  });
});
