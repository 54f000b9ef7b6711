/** What may come of a world: what the two do by themselves, and what goes wrong (ownership.test.ts). */
import { destinationStep } from "../../../src/migration/ownership/destination-machine.ts";
import { sourceStep } from "../../../src/migration/ownership/source-machine.ts";
import { destinationMoves } from "./ownership-destination.ts";
import { sourceMoves } from "./ownership-source.ts";
import { troubles } from "./ownership-troubles.ts";
import { copyOf, type World } from "./ownership-world.ts";

/** What the program does, and what a broken one would do instead. */
export interface Rules {
  sourceStep: typeof sourceStep;
  destinationStep: typeof destinationStep;
  /** A broken one: what ran and is gone is taken for what never ran (arriving-vm.ts). */
  givesBackWhatRan: boolean;
  /** Only the newest connection of a session is obeyed (destination.ts). */
  newestOnly: boolean;
  /** It is known, too, where the session has no record. */
  remembersAttempts: boolean;
  /** A record is written only over the record that was decided on (journal.ts, `step`). */
  comparesRecord: boolean;
  /** What goes wrong includes journals that are restored from a backup, or lost. */
  restoresJournals: boolean;
  /** The source asks its files before it believes its record (apply-locally.ts). */
  believesFiles: boolean;
  /** The destination asks store and programs before it believes its record (destination-session.ts). */
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
  /** Not something that goes wrong or a person does: what the two would do by themselves. */
  own: boolean;
  world: World;
  /** What this move broke, where it did. */
  broke?: string | undefined;
}

export type Add = (name: string, own: boolean, change: (next: World) => unknown) => void;

/** Every world that can come of this one. */
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
