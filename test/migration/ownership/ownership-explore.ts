/** Visits every world that can come of the first one, and says what is wrong with any of them. */
import type { Mode } from "../../../src/migration/ownership/phases.ts";
import { movesFrom, type Rules } from "./ownership-moves.ts";
import { begin, isEnded, keyOf, type World, wrongIn } from "./ownership-world.ts";

export interface Explored {
  worlds: number;
  moves: number;
  /** The first thing that is wrong, with the way there. */
  wrong: string | undefined;
}

/** Takes how many things may go wrong in one history. Breadth first, so that the way to what is wrong is a shortest one. */
export function explore(mode: Mode, rules: Rules, most: number, runs = false): Explored {
  const first = begin(mode, most, runs);
  const indices = new Map<string, number>([[keyOf(first), 0]]);
  const queue: (World | undefined)[] = [first];
  const came: { from: number; by: string }[] = [{ from: -1, by: "" }];
  /** By world: where it goes by itself. */
  const own: number[][] = [];
  const ended: boolean[] = [];
  let moves = 0;
  const wayTo = (index: number, last: string) => {
    const steps = [last];
    for (let at = index; at > 0; at = came[at]!.from) steps.unshift(came[at]!.by);
    return steps.join("\n  ");
  };
  for (let at = 0; at < queue.length; at++) {
    const world = queue[at]!;
    queue[at] = undefined;
    const isOver = isEnded(world);
    ended.push(isOver);
    const onward: number[] = [];
    for (const move of movesFrom(world, rules)) {
      moves++;
      const wrong = move.broke ?? wrongIn(move.world);
      if (wrong !== undefined) {
        return { worlds: indices.size, moves, wrong: `${wrong}, by\n  ${wayTo(at, move.name)}` };
      }
      const key = keyOf(move.world);
      let index = indices.get(key);
      if (index === undefined) {
        index = queue.length;
        indices.set(key, index);
        queue.push(move.world);
        came.push({ from: at, by: move.name });
      }
      // What is said to an end that both know is no way out of it.
      if (move.own && !isOver) onward.push(index);
    }
    own.push(onward);
  }
  const stuck = neverEnds(own, ended);
  return {
    worlds: indices.size,
    moves,
    wrong:
      stuck === undefined
        ? undefined
        : `the session never ends, by\n  ${wayTo(stuck, "and then nothing more")}`,
  };
}

/**
 * A world from which the two, left to themselves, come to no end: one where nothing can happen that is
 * no end, or one on a circle. Without either every way ends, since there are so many worlds and no more.
 */
function neverEnds(own: readonly number[][], ended: readonly boolean[]): number | undefined {
  const left = own.map((onward) => onward.length);
  const before: number[][] = own.map(() => []);
  own.forEach((onward, from) => {
    for (const to of onward) before[to]!.push(from);
  });
  const settled = left.flatMap((count, at) => (count === 0 ? [at] : []));
  const dead = settled.find((at) => !ended[at]);
  if (dead !== undefined) return dead;
  for (let at = 0; at < settled.length; at++) {
    for (const from of before[settled[at]!]!) if (--left[from]! === 0) settled.push(from);
  }
  if (settled.length === own.length) return undefined;
  return left.findIndex((count) => count > 0);
}
