/** What counts as delivered on a connection, and what does not: of a link that the test plays, on a clock of its own. */
import { describe, expect, test } from "bun:test";
import { DeliveryWatch } from "../../src/channel/delivery-watch.ts";
import type { FrameSocket } from "../../src/channel/frame-socket.ts";
import type { TcpSending } from "../../src/platform/tcp-sending.ts";

const silenceMs = 1000;
const limitMs = 3 * silenceMs;

function watched(waitsForRoom: boolean) {
  const sending: TcpSending = { acknowledgedBytes: 0, isUnderway: false, waitingBytes: 0 };
  const link = {
    sending: sending as TcpSending | null,
    untakenBytes: 0,
    takenBytes: 0,
    remoteAddress: "192.0.2.1",
  };
  const watch = new DeliveryWatch(link as unknown as FrameSocket, { limitMs, waitsForRoom }, 0);
  return { link, sending, watch };
}

describe("a connection is dead", () => {
  test("where packets are under way and none is acknowledged, and the sentence names the MTU", () => {
    const { sending, watch } = watched(true);
    sending.isUnderway = true;
    expect(watch.look(false, limitMs)).toBeNull();
    expect(watch.look(false, limitMs + 1)).toMatchObject({
      code: "network",
      message:
        "the link to 192.0.2.1 takes small messages but no data: nothing of what was sent has arrived for 3 s (the MTU?)",
      hint: expect.stringContaining("MTU"),
    });
  });

  test("where that began after all that was before had arrived", () => {
    const { sending, watch } = watched(false);
    sending.acknowledgedBytes = 4096;
    expect(watch.look(true, 100)).toBeNull();
    sending.isUnderway = true;
    expect(watch.look(true, 200)).toBeNull();
    expect(watch.look(true, 101 + limitMs)?.message).toMatch(/takes small messages but no data/);
  });

  test("where everything was acknowledged by the kernel there, and the answer that is due does not come", () => {
    const { sending, watch } = watched(true);
    sending.acknowledgedBytes = 4096;
    expect(watch.look(true, 100)).toBeNull();
    expect(watch.look(true, 200)).toBeNull();
    expect(watch.look(true, 101 + limitMs)?.message).toMatch(/takes data and nobody there answers it/);
  });

  test("where heartbeats arrive and nothing else", () => {
    const { sending, watch } = watched(true);
    for (let nowMs = 0; nowMs <= limitMs; nowMs += silenceMs / 4) {
      sending.acknowledgedBytes += 50;
      expect(watch.look(true, nowMs)).toBeNull();
    }
    expect(watch.look(true, limitMs + 1)).not.toBeNull();
  });

  test("where a peer reads nothing, unless that is for others to judge", () => {
    for (const waitsForRoom of [true, false]) {
      const { sending, watch } = watched(waitsForRoom);
      sending.waitingBytes = 1;
      expect(watch.look(true, limitMs + 1) === null).toBe(waitsForRoom);
    }
  });

  test("where the kernel takes nothing more, if that is all that is known", () => {
    const { link, watch } = watched(false);
    link.sending = null;
    link.untakenBytes = 10;
    link.takenBytes = 1000;
    expect(watch.look(false, limitMs)).toBeNull();
    expect(watch.look(false, limitMs * 2 + 1)).not.toBeNull();
  });
});

describe("a connection is alive", () => {
  test("while one packet after the other is acknowledged, however late the answer comes", () => {
    const { sending, watch } = watched(false);
    sending.isUnderway = true;
    for (let nowMs = 0; nowMs < 100 * limitMs; nowMs += limitMs) {
      sending.acknowledgedBytes += 1448;
      expect(watch.look(true, nowMs)).toBeNull();
    }
  });

  test("while it is answered", () => {
    const { watch } = watched(false);
    for (let nowMs = 0; nowMs < 100 * limitMs; nowMs += limitMs) {
      watch.answered(nowMs);
      expect(watch.look(true, nowMs + limitMs)).toBeNull();
    }
  });

  test("while nothing is to arrive, and for a whole silence after that", () => {
    const { watch } = watched(false);
    expect(watch.look(false, 100 * limitMs)).toBeNull();
    expect(watch.look(true, 101 * limitMs)).toBeNull();
    expect(watch.look(true, 101 * limitMs + 1)).not.toBeNull();
  });
});
