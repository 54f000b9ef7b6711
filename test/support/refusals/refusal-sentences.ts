/** The sentences of refusals as they stand in the source, so that one that no table brings about is noticed. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../../..");
/** A call that makes a refusal, up to its sentence: a code may stand in front of that. */
const makers =
  /(?:new MigrateError|refusal|invalid|stale)\(\s*(?:"[a-z-]+",\s*)?(?:(?:vm|ram),\s*)*(`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")/g;

export interface RefusalSentence {
  file: string;
  /** The literal, without its quotes. */
  text: string;
  /** Matches what it says, whatever stands in its gaps. */
  pattern: RegExp;
}

/** All of these files. */
export function refusalSentences(files: readonly string[]): RefusalSentence[] {
  return files.flatMap((file) =>
    [...readFileSync(join(root, file), "utf8").matchAll(makers)].flatMap(([, literal = ""]) => {
      const text = literal.slice(1, -1);
      // What makes them has its sentence from whoever calls it.
      if (/^[a-z-]+$/.test(text)) return [];
      const fixed = text.split(/\$\{(?:[^{}]|\{[^{}]*\})*\}/).map((part) => RegExp.escape(part));
      return [{ file, text, pattern: new RegExp(fixed.join(".*"), "s") }];
    }),
  );
}
