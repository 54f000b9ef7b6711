/**
 * Every place of the source that refuses a VM, found in its text, and which of them an error came from: so that a
 * refusal that no table names is noticed.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { MigrateError } from "../../../src/protocol/errors.ts";

const root = resolve(import.meta.dir, "../../..");

/** Where the checks are that a VM goes through before it leaves. */
const places = [
  "src/vm/qemu/definition/*.ts",
  "src/vm/qemu/{running-vm,plugged,mirrorable,refusals,qemu-files,start-folder}.ts",
  "src/vm/qemu/outgoing/{others-work,guest-watch}.ts",
  "src/vm/qemu/images/{left-behind,image-info}.ts",
  "src/migration/providers/qemu/leaving/*.ts",
  "src/migration/providers/files/retire.ts",
  "src/vm/holders/file-holders.ts",
  "src/vm/disks/disk-format.ts",
];

/**
 * What makes an error: the error itself, and functions that return one. Where one of these returns what another made,
 * its callers are the places: the engine keeps no frame of what only returns (proper tail calls, ECMA-262).
 */
const makers =
  /(?<!function |return )(?<![\w.])(?:this\.#badValue|new MigrateError|refused|invalid|busy|cannotMigrate|cannotMove|tooLong|heldBy\w*|cameIn|wentAway)\(/g;

export interface RefusalSite {
  file: string;
  firstLine: number;
  lastLine: number;
  /** Its text, in one line. */
  text: string;
}

/** All places, in the order of files and lines. */
export function refusalSites(): RefusalSite[] {
  const files = places.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync({ cwd: root })]).sort();
  return files.flatMap((file) => {
    const code = withoutComments(readFileSync(join(root, file), "utf8"));
    const lineAt = (at: number) => code.slice(0, at).split("\n").length;
    return [...code.matchAll(makers)].map(({ index, 0: opening }) => {
      const end = closingOf(code, index + opening.length - 1);
      const text = code.slice(index, end + 1).replaceAll(/\s+/g, " ");
      return { file, firstLine: lineAt(index), lastLine: lineAt(end), text };
    });
  });
}

/** The places that an error passed through when it was made. */
export function sitesOf({ stack = "" }: MigrateError, sites: readonly RefusalSite[]): RefusalSite[] {
  const frames = [...stack.matchAll(/\(?([^\s()]+\.ts):(\d+):\d+\)?$/gm)];
  return sites.filter(({ file, firstLine, lastLine }) =>
    frames.some(
      ([, path, line]) => path === join(root, file) && Number(line) >= firstLine && Number(line) <= lastLine,
    ),
  );
}

/** Comments become blanks, so that lines keep their numbers. */
function withoutComments(text: string): string {
  const blank = (found: string) => found.replaceAll(/[^\n]/g, " ");
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, blank).replaceAll(/(?:^|\s)\/\/.*$/gm, blank);
}

/** Where the parenthesis that opens at `from` closes. */
function closingOf(code: string, from: number): number {
  let depth = 0;
  for (let at = from; at < code.length; at++) {
    if (code[at] === "(") depth++;
    if (code[at] === ")" && --depth === 0) return at;
  }
  throw new Error("a parenthesis does not close");
}
