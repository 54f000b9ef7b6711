import { afterEach, describe, expect, test } from "bun:test";
import { ControlLink, type HeartbeatTiming, peerError } from "../../src/channel/control-link.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { FrameDecoder, type FrameName } from "../../src/protocol/frames.ts";
import { limits } from "../../src/protocol/limits.ts";
import { decodeMessage, encodeMessage, type Message, type MessageName } from "../../src/protocol/messages.ts";

/** Long enough that no heartbeat comes into a test that is not about it. */
const never: HeartbeatTiming = { pingMs: 3_600_000, silenceMs: 3_600_000 };
const links: ControlLink[] = [];
afterEach(() => {
  for (const link of links.splice(0)) link.destroy(new MigrateError("network", "the test is over"));
});

function makeLink(timing = never) {
  const said: Message[] = [];
  const deeds: string[] = [];
  const decoder = new FrameDecoder("control", (name, payload) =>
    said.push(decodeMessage(name as MessageName, payload)),
  );
  const link = new ControlLink(
    {
      send: (frame) => decoder.push(frame),
      finish: () => deeds.push("finish"),
      destroy: () => deeds.push("destroy"),
    },
    "destination",
    timing,
  );
  links.push(link);
  const hear = (name: FrameName, body: unknown = {}) => link.deliver(name, Buffer.from(JSON.stringify(body)));
  return { link, said, deeds, hear };
}

const errorOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (thrown: MigrateError) => thrown,
  );

describe("a control link", () => {
  test("gives the messages in order, those that were waited for and those that came first", async () => {
    const { link, hear } = makeLink();
    const waited = link.receive();
    hear("release");
    hear("confirm");
    expect((await waited).name).toBe("release");
    expect((await link.receive()).name).toBe("confirm");
  });

  // [MSG-8]
  test("answers PING at once, and gives neither PING nor PONG to anybody", async () => {
    const { link, said, hear } = makeLink();
    hear("ping");
    hear("pong");
    hear("list");
    expect(said).toEqual([{ name: "pong", body: {} }]);
    expect((await link.receive()).name).toBe("list");
  });

  test("says PING while it has nothing to say, and is lost once it hears nothing", async () => {
    const { link, said, deeds } = makeLink({ pingMs: 20, silenceMs: 100 });
    const error = await new Promise<MigrateError>((closed) => link.onClosed(closed));
    expect(error.code).toBe("network");
    expect(said.length).toBeGreaterThanOrEqual(2);
    expect(new Set(said.map(({ name }) => name))).toEqual(new Set(["ping"]));
    expect(deeds).toEqual(["destroy"]);
    expect(link.closed).toBe(true);
  });

  test("takes another message than was expected for a breach", async () => {
    const { link, hear } = makeLink();
    hear("owned");
    expect(await errorOf(link.expect("ready"))).toMatchObject({ code: "protocol", side: "destination" });
  });

  // [STAND-5]
  test("takes INVENTORY only where it was asked for", () => {
    const { link } = makeLink();
    expect(() => link.deliver("inventory", Buffer.alloc(8))).toThrow("unasked");
    const came: number[] = [];
    link.onInventory = (payload) => came.push(payload.length);
    link.deliver("inventory", Buffer.alloc(24));
    link.onInventory = undefined;
    expect(() => link.deliver("inventory", Buffer.alloc(8))).toThrow("unasked");
    expect(came).toEqual([24]);
  });

  // [STAND-3]
  test("takes no CHUNK and no ACK", () => {
    const { link } = makeLink();
    for (const name of ["chunk", "ack"] as const) {
      expect(() => link.deliver(name, Buffer.alloc(8))).toThrow(
        expect.objectContaining({ code: "protocol" }),
      );
    }
  });

  test("does not let messages pile up", () => {
    const { hear } = makeLink();
    expect(() => {
      for (let i = 0; i < 1000; i++) hear("list");
    }).toThrow("too many messages");
  });

  // [MSG-7]
  test("ends with what the peer said by ERROR, for whoever waits and for whoever asks later", async () => {
    const { link, deeds, hear } = makeLink();
    const waited = errorOf(link.receive());
    hear("error", { code: "name-taken", message: "there is one already" });
    const expected = { code: "name-taken", side: "destination", message: "there is one already" };
    expect(await waited).toMatchObject(expected);
    expect(await errorOf(link.receive())).toMatchObject(expected);
    expect(deeds).toEqual(["destroy"]);
    hear("release");
    expect(await errorOf(link.receive())).toMatchObject(expected);
  });

  // [MSG-7]
  test("tells the peer what went wrong here, and closes", async () => {
    const { link, said, deeds } = makeLink();
    link.fail(new MigrateError("no-room", "the disk is full", { hint: "not for you" }));
    expect(said).toEqual([{ name: "error", body: { code: "no-room", message: "the disk is full" } }]);
    expect(deeds).toEqual(["finish"]);
    link.send("release", {});
    link.fail(new MigrateError("io", "again"));
    expect(said.length).toBe(1);
    expect(await errorOf(link.receive())).toMatchObject({ code: "no-room" });
  });

  test("that is gone says so to everybody, also to who asks afterwards", async () => {
    const { link } = makeLink();
    const waited = errorOf(link.receive());
    const told: string[] = [];
    link.onClosed(({ code }) => told.push(code));
    link.lost();
    link.onClosed(({ code }) => told.push(code));
    expect(told).toEqual(["network", "network"]);
    expect(await waited).toMatchObject({ code: "network" });
  });
});

describe("an error that a peer reports", () => {
  // [MSG-6]
  test("shows without control and direction characters", () => {
    const { message } = peerError({ code: "policy", message: "\u001b[2Jno\u0085\u202e\n" }, "source");
    expect(message).toBe(" [2Jno   ");
  });

  // [MSG-6] [ERR-1]
  test("of a code that is not known is one of the protocol", () => {
    for (const code of ["nonsense", "__proto__", "toString", ""]) {
      expect(peerError({ code, message: "x" }, "source").code).toBe("protocol");
    }
    expect(peerError({ code: "in-doubt", message: "x" }, "source")).toMatchObject({
      code: "in-doubt",
      side: "source",
    });
  });

  test("can be as long as the limits say, and no longer", () => {
    const body = { code: "policy", message: "x".repeat(limits.errorTextBytes) };
    expect(decodeMessage("error", encodeMessage("error", body).subarray(5)).body).toEqual(body);
    const more = { ...body, message: `${body.message}x` };
    expect(() => decodeMessage("error", encodeMessage("error", more).subarray(5))).toThrow("error.message");
  });
});
