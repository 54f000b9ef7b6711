/** Of the failures that come of one another, the cause is told. */
import { describe, expect, test } from "bun:test";
import { causeOf, type Witnesses } from "../../../../src/migration/providers/qemu/stream-failure.ts";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { laneRefused } from "../../../../src/transfer/doors/lane-refusal.ts";
import { QmpError } from "../../../../src/vm/qemu/qmp/qmp-error.ts";

const never = new Promise<never>(() => {});
const nobody: Witnesses = { name: "web1", streams: undefined, link: never, qemu: never };

const rejected = (error: MigrateError): Promise<never> => {
  const promise = Promise.reject<never>(error);
  promise.catch(() => {});
  return promise;
};

const streamGone = (side?: "destination") =>
  new MigrateError("qemu-failed", "QEMU closed the connection of a stream", { side });
const qemuEnded = new MigrateError("qemu-failed", "the destination's QEMU ended: load of migration failed", {
  side: "destination",
});
const cut = new MigrateError("network", "the connection was closed");
const ioError = new MigrateError("qemu-failed", "data.raw could not be written at the destination", {
  side: "destination",
  hint: "QEMU says: Input/output error",
});

describe("the destination's QEMU has ended", () => {
  test("its last words, which come on the link, are told in place of the stream's that it left", async () => {
    const link = Bun.sleep(20).then(() => qemuEnded);
    const streams = rejected(streamGone("destination"));
    expect(await causeOf(streamGone("destination"), { ...nobody, streams, link })).toBe(qemuEnded);
    // Also where the source's QEMU was the first to see a consequence.
    expect(await causeOf(new QmpError("silent", "no answer"), { ...nobody, streams, link })).toBe(qemuEnded);
  });

  test("what the stream says is told if the link is lost before", async () => {
    const gone = streamGone("destination");
    const link = Promise.resolve(cut);
    expect(await causeOf(gone, { ...nobody, streams: rejected(gone), link })).toMatchObject({
      message: gone.message,
      side: "destination",
    });
  });
});

describe("migrate serve was started anew", () => {
  test("a stream that nobody knows any more says so, and what to do", async () => {
    const streams = rejected(laneRefused());
    const link = Promise.resolve(cut);
    for (const first of [laneRefused(), ioError]) {
      expect(await causeOf(first, { ...nobody, streams, link })).toMatchObject({
        code: "cancelled",
        message: "migrate serve was started anew at the destination, and what had arrived of web1 is gone",
        hint: expect.stringContaining("run the same command again"),
      });
    }
  });

  test("if it was the session that was given up, the destination's reason is told", async () => {
    const why = new MigrateError("cancelled", "migrate serve is being stopped", { side: "destination" });
    const streams = rejected(laneRefused());
    expect(await causeOf(laneRefused(), { ...nobody, streams, link: Promise.resolve(why) })).toBe(why);
  });
});

test("of this host's own QEMU its end is told, whichever of its connections shows it first", async () => {
  const gone = streamGone();
  const ended = new QmpError("interrupted", "QEMU ended or closed the connection");
  for (const thrown of [gone, ended]) {
    const witnesses = { ...nobody, streams: rejected(gone), qemu: Promise.resolve(ended) };
    expect(await causeOf(thrown, witnesses)).toMatchObject({
      code: "qemu-failed",
      side: "source",
      message: ended.message,
    });
  }
});

test("what is a cause by itself is told at once, whatever else there is to hear", async () => {
  for (const code of ["no-room", "cancelled", "network", "source-changed", "integrity"] as const) {
    const error = new MigrateError(code, "so it is", { side: "source" });
    expect(await causeOf(error, { ...nobody, streams: rejected(laneRefused()) })).toMatchObject({
      code,
      message: "so it is",
    });
  }
});
