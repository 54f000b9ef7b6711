/** The QMP client against a played QEMU that answers, errs and misbehaves. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { Qmp, type QmpEvent } from "../../../../src/vm/qemu/qmp/qmp.ts";
import { QmpError } from "../../../../src/vm/qemu/qmp/qmp-error.ts";
import { withDeadline } from "../../../support/system/deadline.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { type PlayedMonitor, PlayedQemu, playedEvent } from "./played-qemu.ts";

let folder: string;
let played: PlayedQemu[];
let clients: Qmp[];
let paths = 0;
eachTestInFolder("migrate-qmp-", (made) => {
  folder = made;
  played = [];
  clients = [];
  return () => {
    for (const client of clients) client.close();
    for (const qemu of played) qemu.close();
  };
});

/** A client that has negotiated, and the QEMU's end of the line. */
async function connected(): Promise<{ qmp: Qmp; qemu: PlayedMonitor }> {
  const path = join(folder, `qmp-${paths++}`);
  const monitor = Promise.withResolvers<PlayedMonitor>();
  played.push(
    await PlayedQemu.listen(path, async (end) => {
      monitor.resolve(end);
      await end.negotiate();
    }),
  );
  const qmp = await Qmp.connect(path);
  clients.push(qmp);
  return { qmp, qemu: await monitor.promise };
}

/** The QmpError that a promise is rejected with, soon. */
async function failure(promise: Promise<unknown>): Promise<QmpError> {
  const outcome = await withDeadline(
    promise.then(
      (value) => ({ value }),
      (thrown: unknown) => ({ thrown }),
    ),
    5000,
    "a failure",
  );
  if ("thrown" in outcome && outcome.thrown instanceof QmpError) return outcome.thrown;
  throw new Error(`no QmpError: ${JSON.stringify(outcome)}`, { cause: outcome });
}

describe("commands", () => {
  test("the greeting's version is known, and capabilities are negotiated first", async () => {
    const { qmp } = await connected();
    expect(qmp.version).toEqual({ major: 7, minor: 2, micro: 22 });
    expect(qmp.isClosed).toBe(false);
  });

  test("each caller gets its own answer, in whatever order and read they come", async () => {
    const { qmp, qemu } = await connected();
    const first = qmp.execute("query-status", { a: 1 });
    const second = qmp.execute("query-block");
    const [one, two] = [await qemu.command(), await qemu.command()];
    expect(one).toEqual({ execute: "query-status", arguments: { a: 1 }, id: one.id });
    expect(two).toEqual({ execute: "query-block", id: two.id });
    await qemu.say({ return: "second", id: two.id }, playedEvent("STOP"), { return: "first", id: one.id });
    expect(await Promise.all([first, second])).toEqual(["first", "second"]);
  });

  test("an answer that comes byte by byte, through the middle of its characters, is whole", async () => {
    const { qmp, qemu } = await connected();
    const answer = qmp.execute("query-name");
    const { id } = await qemu.command();
    const bytes = Buffer.from(`${JSON.stringify({ return: { name: "Wäscherei 🧺" }, id })}\r\n`);
    for (const byte of bytes) await qemu.write(Uint8Array.of(byte));
    expect(await answer).toEqual({ name: "Wäscherei 🧺" });
  });

  test("a refusal carries QEMU's class and words, and the connection goes on", async () => {
    const { qmp, qemu } = await connected();
    const refused = qmp.execute("cont");
    const { id } = await qemu.command();
    await qemu.say({ id, error: { class: "GenericError", desc: "Resetting the VM is required" } });
    expect(await failure(refused)).toMatchObject({
      kind: "refused",
      command: "cont",
      errorClass: "GenericError",
      message: "QEMU refused cont: Resetting the VM is required",
    });
    const next = qmp.execute("query-status");
    await qemu.say({ return: {}, id: (await qemu.command()).id });
    expect(await next).toEqual({});
  });

  test("an answer that is none to the command that was asked is malformed, and the connection goes on", async () => {
    const { qmp, qemu } = await connected();
    const asked = failure(qmp.ask(v.array(v.object({ name: v.string() })), "qom-list", { path: "/machine" }));
    const { id } = await qemu.command();
    await qemu.say({ return: {}, id });
    expect(await asked).toMatchObject({
      kind: "malformed",
      command: "qom-list",
      message: expect.stringContaining("qom-list"),
    });
    const next = qmp.ask(v.object({ status: v.string() }), "query-status");
    await qemu.say({ return: { status: "running", running: true }, id: (await qemu.command()).id });
    expect(await next).toEqual({ status: "running" });
  });

  test("many connections at once do not disturb each other", async () => {
    const all = await Promise.all(Array.from({ length: 40 }, connected));
    const answers = all.map(({ qmp }, index) => qmp.execute("query", { index }));
    for (const { qemu } of all.toReversed()) {
      const { id, arguments: args } = await qemu.command();
      await qemu.say({ return: args?.index, id });
    }
    expect(await Promise.all(answers)).toEqual(all.map((_, index) => index));
  });
});

describe("an end", () => {
  test("in the middle of an answer interrupts the command, and all that come after it", async () => {
    const { qmp, qemu } = await connected();
    const cut = qmp.execute("query-block");
    const waiting = qmp.nextEvent("STOP");
    const { id } = await qemu.command();
    await qemu.write(`{"return": {}, "id": ${id}`);
    qemu.socket.destroy();
    expect(await failure(cut)).toMatchObject({ kind: "interrupted", command: "query-block" });
    expect((await failure(waiting)).kind).toBe("interrupted");
    expect((await withDeadline(qmp.closed, 5000, "closed")).kind).toBe("interrupted");
    expect(qmp.isClosed).toBe(true);
    expect(await failure(qmp.execute("query-status"))).toMatchObject({ kind: "interrupted" });
    expect((await failure(qmp.nextEvent("STOP"))).kind).toBe("interrupted");
  });

  test("of our own tells who waits, and QEMU", async () => {
    const { qmp, qemu } = await connected();
    const waiting = qmp.execute("query-status");
    qmp.close();
    qmp.close();
    expect(await failure(waiting)).toMatchObject({ kind: "interrupted" });
    expect((await withDeadline(qmp.closed, 5000, "closed")).message).toContain("closed on our side");
    await withDeadline(qemu.closed, 5000, "QEMU to see the end");
  });
});

describe("what is not QMP", () => {
  const event = JSON.stringify(playedEvent("STOP"));
  test.each([
    ["no JSON", () => "oh no"],
    ["no object", () => "[1]"],
    ["null", () => "null"],
    ["an answer that nobody asked for", (id: number) => `{"return": {}, "id": ${id + 1}}`],
    ["an answer without an id", () => '{"return": {}}'],
    ["an answer without a value", (id: number) => `{"id": ${id}}`],
    ["an error without an id", () => '{"error": {"class": "GenericError", "desc": "JSON parse error"}}'],
    ["an id that is no number", () => '{"return": {}, "id": "1"}'],
    [
      "a second greeting",
      () => '{"QMP": {"version": {"qemu": {"micro": 1, "minor": 1, "major": 1}}, "capabilities": []}}',
    ],
    ["an event without a time", () => '{"event": "STOP"}'],
    ["a byte that is not UTF-8", () => event.replace("STOP", "ST\xc3P")],
    ["objects without an end", () => '{"return":'.repeat(200_000)],
  ])("%s ends the connection as malformed", async (_, line) => {
    const { qmp, qemu } = await connected();
    const waiting = qmp.execute("query-status");
    const { id } = await qemu.command();
    await qemu.write(Buffer.from(`${line(id)}\r\n`, "latin1"));
    expect(await failure(waiting)).toMatchObject({ kind: "malformed", command: "query-status" });
    expect((await qmp.closed).kind).toBe("malformed");
    await withDeadline(qemu.closed, 5000, "QEMU to see the end");
  });

  test("an answer to the same command twice is malformed", async () => {
    const { qmp, qemu } = await connected();
    const answer = qmp.execute("query-status");
    const { id } = await qemu.command();
    await qemu.say({ return: 1, id }, { return: 2, id });
    expect(await answer).toBe(1);
    expect((await withDeadline(qmp.closed, 5000, "closed")).kind).toBe("malformed");
  });

  test("a line without an end is refused at 16 MiB", async () => {
    const { qmp, qemu } = await connected();
    const piece = "x".repeat(1024 * 1024);
    const sending = (async () => {
      for (let count = 0; count < 17; count++) await qemu.write(piece);
    })();
    sending.catch(() => {});
    expect(await withDeadline(qmp.closed, 10_000, "closed")).toMatchObject({
      kind: "malformed",
      message: expect.stringContaining("a line is longer than 16777216 bytes"),
    });
  });
});

describe("silence", () => {
  test("fails the command alone; its late answer is let pass, and the connection goes on", async () => {
    const { qmp, qemu } = await connected();
    expect(await failure(qmp.execute("query-status", undefined, { timeoutMs: 20 }))).toMatchObject({
      kind: "silent",
      command: "query-status",
    });
    const { id } = await qemu.command();
    const next = qmp.execute("query-name");
    const { id: nextId } = await qemu.command();
    await qemu.say({ return: "late", id }, { return: "in time", id: nextId });
    expect(await next).toBe("in time");
    expect(qmp.isClosed).toBe(false);
  });

  test("of a QEMU that reads nothing fails a command; one that had not left never leaves", async () => {
    const { qmp, qemu } = await connected();
    qemu.socket.pause();
    const much = { text: "x".repeat(8 * 1024 * 1024) };
    const jammed = qmp.execute("large", much, { timeoutMs: 100 });
    const behind = qmp.execute("cont", undefined, { timeoutMs: 50 });
    // Both at once: on a busy machine they may fail in either order.
    const failures = await Promise.all([behind, jammed].map(failure));
    expect(failures.map(({ kind }) => kind)).toEqual(["silent", "silent"]);
    const after = qmp.execute("query-status");
    qemu.socket.resume();
    const { id, ...large } = await qemu.command();
    expect(large.execute).toBe("large");
    const next = await qemu.command();
    expect(next.execute).toBe("query-status");
    await qemu.say({ return: {}, id }, { return: "well", id: next.id });
    expect(await after).toBe("well");
  });

  test("of a QEMU that reads nothing does not keep a connection from closing", async () => {
    const { qmp, qemu } = await connected();
    qemu.socket.pause();
    const jammed = qmp.execute("large", { text: "x".repeat(8 * 1024 * 1024) });
    qmp.close();
    expect((await failure(jammed)).kind).toBe("interrupted");
    await withDeadline(qmp.closed, 5000, "closed");
  });
});

describe("events", () => {
  test("go to all who listen, with QEMU's time, until they stop", async () => {
    const { qmp, qemu } = await connected();
    const seen: QmpEvent[] = [];
    const off = qmp.onEvent((event) => seen.push(event));
    const stop = qmp.nextEvent("STOP");
    await qemu.say(playedEvent("STOP", { reason: "x" }));
    expect(await stop).toEqual({ event: "STOP", data: { reason: "x" }, atMs: 1_900_000_000_250.5 });
    off();
    const resume = qmp.nextEvent("RESUME");
    await qemu.say(playedEvent("RESUME"));
    await resume;
    expect(seen.map(({ event }) => event)).toEqual(["STOP"]);
  });

  test("are chosen by name, by several names, and by what they carry", async () => {
    const { qmp, qemu } = await connected();
    const ready = qmp.nextEvent(["JOB_READY", "JOB_FAILED"], ({ data }) => data.id === "b");
    await qemu.say(
      playedEvent("JOB_READY", { id: "a" }),
      playedEvent("OTHER", { id: "b" }),
      playedEvent("JOB_FAILED", { id: "b" }),
      playedEvent("JOB_READY", { id: "b" }),
    );
    expect((await ready).event).toBe("JOB_FAILED");
  });

  test("that do not come are waited for as long as was said, or until the signal", async () => {
    const { qmp } = await connected();
    expect(await failure(qmp.nextEvent("STOP", undefined, { timeoutMs: 10 }))).toMatchObject({
      kind: "silent",
      message: "QEMU did not tell of STOP within 10 ms",
    });
    const controller = new AbortController();
    const waiting = qmp.nextEvent("STOP", undefined, { signal: controller.signal });
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(qmp.nextEvent("STOP", undefined, { signal: controller.signal })).rejects.toBe(reason);
  });

  test("a filter that throws fails its own waiting, not the connection", async () => {
    const { qmp, qemu } = await connected();
    const reason = new TypeError("a mistake");
    const waiting = qmp.nextEvent("STOP", () => {
      throw reason;
    });
    await qemu.say(playedEvent("STOP"));
    await expect(waiting).rejects.toBe(reason);
    expect(qmp.isClosed).toBe(false);
  });
});
