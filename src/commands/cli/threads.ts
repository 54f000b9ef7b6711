/** How many threads a migration works with unless a flag says otherwise. */
import { availableParallelism } from "node:os";

/** Most lanes of a source: on no disk or link that was measured were more of them faster. */
export const mostUsualLanes = 4;

/** Most threads that receive chunks: more of them were not faster in any measurement. */
const mostUsualDoors = 8;

export function usualLanes(): number {
  return Math.max(1, Math.min(mostUsualLanes, availableParallelism()));
}

export function usualDoors(): number {
  return Math.max(1, Math.min(mostUsualDoors, availableParallelism()));
}
