/**
 * The worlds that can follow from a world: by what the two hosts do by themselves, and by failures
 * (ownership.test.ts).
 */
import { destinationStep } from "../../../src/migration/ownership/destination-machine.ts";
import { sourceStep } from "../../../src/migration/ownership/source-machine.ts";
import { destinationMoves } from "./ownership-destination.ts";
import { sourceMoves } from "./ownership-source.ts";
import { troubles } from "./ownership-troubles.ts";
import { copyOf, type World } from "./ownership-world.ts";

/** Which rules the program follows, and what a broken one does instead. */
export interface Rules {
  sourceStep: typeof sourceStep;
  destinationStep: typeof destinationStep;
  /** Broken: a VM that ran and is gone is mistaken for one that never ran (arriving-vm.ts). */
  givesBackWhatRan: boolean;
  /** Only the newest connection of a session is obeyed (destination.ts). */
  newestOnly: boolean;
  /** The newest connection is known even if the session has no record. */
  remembersAttempts: boolean;
  /** A record is written only over the record that was decided on (journal.ts, `step`). */
  comparesRecord: boolean;
  /** The failures include journals that are restored from a backup, or lost. */
  restoresJournals: boolean;
  /** The source believes its files before its record (apply-locally.ts). */
  believesFiles: boolean;
  /** The destination checks store and programs before it believes its record (destination-session.ts). */
  looksAtFiles: boolean;
}

export const program: Rules = {
  sourceStep,
  destinationStep,
  givesBackWhatRan: false,
  newestOnly: true,
  remembersAttempts: true,
  comparesRecord: true,
  restoresJournals: false,
  believesFiles: true,
  looksAtFiles: true,
};

export interface Move {
  name: string;
  /** True for what the two hosts do by themselves: neither a failure nor a person's action. */
  own: boolean;
  world: World;
  /** What this move broke, in words, if anything. */
  broke?: string | undefined;
}

export type Add = (name: string, own: boolean, change: (next: World) => unknown) => void;

/** Returns every world that can follow from this one. */
export function movesFrom(world: World, rules: Rules): Move[] {
  const moves: Move[] = [];
  const add = (name: string, own: boolean, change: (next: World) => unknown) => {
    const next = copyOf(world);
    if (!own) next.faults--;
    const answer = change(next);
    const broke = typeof answer === "string" ? answer : undefined;
    for (const link of next.links) if (link.shut) link.up = [];
    next.links = next.links.filter(({ id, up, cut }) => !cut || id === next.link || up.length > 0);
    if (!next.links.some(({ id }) => id === next.grant)) next.grant = 0;
    moves.push({ name, own, world: next, broke });
  };
  sourceMoves(world, rules, add);
  destinationMoves(world, rules, add);
  if (world.faults > 0) troubles(world, rules, add);
  return moves;
}
