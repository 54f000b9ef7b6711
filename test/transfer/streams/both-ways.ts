/** A stream that carries something in both directions at once, whole, whatever happens to its link. */
import { expect } from "bun:test";
import type { Socket } from "node:net";
import type { CuttingProxy } from "../../support/moves/cutting-proxy.ts";
import { everything, type Programs, type StreamGround } from "./stream-ground.ts";

/** Throws (by `expect`) if what each program says to its end by `say` does not arrive at the other, or the two sides disagree on it. */
export async function expectBothWays(
  ground: StreamGround,
  { source, destination }: Programs,
  { there, back }: { there: Buffer; back: Buffer },
  say: (socket: Socket, bytes: Buffer) => unknown,
): Promise<void> {
  const arrived = Promise.all([everything(destination), everything(source)]);
  say(source, there);
  say(destination, back);
  const [gotThere, gotBack] = await arrived;
  expect(gotThere.equals(there)).toBe(true);
  expect(gotBack.equals(back)).toBe(true);
  const result = await ground.pool.ended(0);
  expect(result.bytes).toBe(there.length);
  await ground.arriving.allEnded([0], 5000);
  expect(ground.arriving.results()).toEqual([result]);
  expect(ground.failures).toEqual([]);
  expect(ground.pool.carried(0)).toEqual({ toDestination: there.length, toSource: back.length });
}

/** Cuts the link as `plan` says, now and whenever the stream has come back, so many times in all. */
export function cutAgain(
  ground: StreamGround,
  times: number,
  plan: () => Parameters<CuttingProxy["plan"]>[0],
): void {
  let left = times;
  const cut = () => {
    if (left-- > 0) ground.proxy.plan(plan());
  };
  ground.heardLink = (state) => {
    if (state === "restored") cut();
  };
  cut();
}
