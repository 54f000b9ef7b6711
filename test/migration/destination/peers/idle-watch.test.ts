/** A serve that is there for one move ends when nobody calls any more, and soon after the VM has arrived. */
import { expect, test } from "bun:test";
import { IdleWatch } from "../../../../src/migration/destination/peers/idle-watch.ts";
import type { FromDoor } from "../../../../src/transfer/doors/door-messages.ts";
import { withDeadline } from "../../../support/system/deadline.ts";

const control = { kind: "control", conn: 1 } as unknown as FromDoor;
const closed = { kind: "closed", conn: 1 } as unknown as FromDoor;

function watch(idleMs: number) {
  const idle = Promise.withResolvers<number>();
  const watching = new IdleWatch(idleMs, () => idle.resolve(performance.now()));
  return { watching, idle: withDeadline(idle.promise, 10_000, "an end") };
}

test("nobody calls", async () => {
  const { watching, idle } = watch(100);
  const begunAtMs = performance.now();
  watching.start();
  expect((await idle) - begunAtMs).toBeGreaterThanOrEqual(99);
});

test("as long as a source is connected it goes on, even if the VM has arrived, and counts anew from its end", async () => {
  const { watching, idle } = watch(80);
  watching.hear(0, control);
  watching.start();
  await Bun.sleep(300);
  const endedAtMs = performance.now();
  watching.hear(0, closed);
  expect((await idle) - endedAtMs).toBeGreaterThanOrEqual(0);

  const other = watch(60_000);
  other.watching.start();
  other.watching.hear(1, control);
  other.watching.arrived();
  await Bun.sleep(300);
  const goneAtMs = performance.now();
  other.watching.hear(1, closed);
  expect((await other.idle) - goneAtMs).toBeLessThan(5000);
});

test("another door's connection of the same number is another one", async () => {
  const { watching, idle } = watch(60_000);
  watching.hear(0, control);
  watching.hear(1, closed);
  watching.arrived();
  watching.start();
  let ended = false;
  void idle.then(() => {
    ended = true;
  });
  await Bun.sleep(400);
  expect(ended).toBe(false);
  watching.hear(0, closed);
  await idle;
});
