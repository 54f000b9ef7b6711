/** Visits every world that can follow from the first one, and returns the first violation. */
import type { Mode } from "../../../src/migration/ownership/phases.ts";
import { movesFrom, type Rules } from "./ownership-moves.ts";
import { begin, isEnded, keyOf, type World, wrongIn } from "./ownership-world.ts";

export interface Explored {
  worlds: number;
  moves: number;
  /** The first violation, with the moves that lead to it. */
  wrong: string | undefined;
}

/**
 * Takes how many failures one history may have. Breadth first, so that the way to a violation is a shortest
 * one.
 */
export function explore(mode: Mode, rules: Rules, most: number, runs = false, goesOnAlone = false): Explored {
  const first = begin(mode, most, runs, goesOnAlone);
  const indices = new Map<string, number>([[keyOf(first), 0]]);
  const queue: (World | undefined)[] = [first];
  const came: { from: number; by: string }[] = [{ from: -1, by: "" }];
  /** For each world, the worlds that follow without a failure. */
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
      // A message that arrives after an end which both sides know does not undo that end.
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
 * Returns a world from which source and destination, left to themselves, reach no end: one where nothing can
 * happen although it is no end, or one on a cycle. If there is neither, every way ends, since the number of
 * worlds is finite.
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
