/** A list of registers as it is typed: 0-7,14. */
import { MigrateError } from "../../protocol/errors.ts";

const highest = 23;

/** The registers in order, each once. Throws MigrateError "usage"; its message ends a sentence that begins with the flag. */
export function parseRegisters(text: string): readonly number[] {
  const registers = new Set<number>();
  for (const part of text.split(",")) {
    const [, from, to = from] = /^(\d{1,2})(?:-(\d{1,2}))?$/.exec(part) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === undefined || first > last || last > highest)
      throw new MigrateError("usage", `must be registers from 0 to ${highest}, as in 0-7,14, not "${text}"`);
    for (let register = first; register <= last; register++) registers.add(register);
  }
  return [...registers].sort((a, b) => a - b);
}
