/** Frames over one connection, where its socket is one that the test fills and empties. */
import { expect, test } from "bun:test";
import { FrameSocket } from "../../src/channel/frame-socket.ts";
import { encodeMessage } from "../../src/protocol/messages.ts";

const pong = encodeMessage("pong", {});

/** A connection whose socket takes as many bytes as there is room for. */
function connection() {
  const state = { roomBytes: Number.POSITIVE_INFINITY, taken: [] as Buffer[] };
  const socket = {
    setNoDelay: () => true,
    pause: () => {},
    resume: () => {},
    write(bytes: Buffer): number {
      const taken = Math.min(bytes.length, state.roomBytes);
      state.roomBytes -= taken;
      state.taken.push(Buffer.from(bytes.subarray(0, taken)));
      return taken;
    },
  };
  const link = new FrameSocket("lane-destination");
  link.attach(socket as never);
  return { link, state, said: () => Buffer.concat(state.taken).toString("hex") };
}

// [MSG-8] [STAND-8]
test("each PING is answered while the peer reads, and one for all while it does not", async () => {
  const { link, state, said } = connection();
  for (let i = 0; i < 3; i++) link.answerPing();
  expect(said()).toBe(Buffer.concat([pong, pong, pong]).toString("hex"));

  state.taken = [];
  state.roomBytes = 2;
  for (let i = 0; i < 100_000; i++) link.answerPing();
  state.roomBytes = Number.POSITIVE_INFINITY;
  link.drained();
  expect(said()).toBe(pong.toString("hex"));

  // It is answered again once the answer has gone.
  await Promise.resolve();
  link.answerPing();
  expect(said()).toBe(Buffer.concat([pong, pong]).toString("hex"));
});
