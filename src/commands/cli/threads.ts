/** How many threads a migration works with if nobody says. */
import { availableParallelism } from "node:os";

/** Lanes of a source: more help no disk or link that was measured. */
export const mostUsualLanes = 4;

/** Threads that take chunks: more have not been seen to help. */
const mostUsualDoors = 8;

export function usualLanes(): number {
  return Math.max(1, Math.min(mostUsualLanes, availableParallelism()));
}

export function usualDoors(): number {
  return Math.max(1, Math.min(mostUsualDoors, availableParallelism()));
}
