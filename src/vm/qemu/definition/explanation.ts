/** A VM's command line as a person wants to see it: all that is refused of it at once. Pure. */
import { type QemuDefinition, readDefinition } from "./definition.ts";

export interface Explanation {
  /** Null if anything is refused. */
  definition: QemuDefinition | null;
  /** A sentence for each thing that is refused, in the order of the command line. */
  refused: string[];
  /** Sentences on what is left out or replaced. */
  notes: string[];
}

/** Explains argv (the program first). Never throws for what argv holds. */
export function explainDefinition(argv: readonly string[]): Explanation {
  const { definition, refusals, notes } = readDefinition(argv);
  return {
    definition,
    refused: refusals.map(({ message, hint }) => (hint === undefined ? message : `${message}. ${hint}`)),
    notes: [...notes],
  };
}
