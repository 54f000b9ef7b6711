/** The destination's figures as RUN-DONE carries them: a number by each name. Pure. */
import { MigrateError } from "../../../protocol/errors.ts";
import { operations, type SideFigures } from "../../statistics/samples.ts";
import type { SideResult } from "./side-account.ts";

/** Operations by their names, all else by its field's. */
export function figuresOf({ setupCpuMs, figures }: SideResult): Record<string, number> {
  const { operationsMs, threadUserMs = 0, threadSystemMs = 0, ...others } = figures;
  return { setupCpuMs, threadUserMs, threadSystemMs, ...others, ...operationsMs };
}

/** The reverse. Throws MigrateError "protocol" if a figure is missing. */
export function resultOf(figures: Readonly<Record<string, number>>): SideResult {
  const take = (name: string): number => {
    const value = Object.hasOwn(figures, name) ? figures[name] : undefined;
    if (value === undefined)
      throw new MigrateError("protocol", `the figure ${name} is missing`, { side: "destination" });
    return value;
  };
  return {
    setupCpuMs: take("setupCpuMs"),
    figures: {
      userMs: take("userMs"),
      systemMs: take("systemMs"),
      threadUserMs: take("threadUserMs"),
      threadSystemMs: take("threadSystemMs"),
      operationsMs: Object.fromEntries(
        operations.map((operation) => [operation, take(operation)]),
      ) as SideFigures["operationsMs"],
      clockMs: take("clockMs"),
      clockReads: take("clockReads"),
    },
  };
}
