/**
 * What a program that we start for a guest may do and see: the words that `migrate confined` is given and carries
 * out before it becomes that program. Pure.
 */
import * as v from "valibot";

const path = v.pipe(v.string(), v.startsWith("/"));
const number = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const fileSchema = v.object({
  /** Where the program finds it. */
  path,
  /** Where it is, if that is another path. */
  from: v.optional(path),
  right: v.picklist(["read", "programs", "write", "own", "device"]),
});

export const planSchema = v.object({
  /** The user that it runs as; null for the one that starts it. */
  user: v.nullable(v.object({ uid: number, gid: number, groups: v.array(number) })),
  /** A root of its own, in which it sees nothing but `files` and what programs need. */
  view: v.boolean(),
  /** "none": a network with nothing in it. */
  network: v.picklist(["host", "none"]),
  landlock: v.boolean(),
  /** Its own files, beside what every program needs. */
  files: v.array(fileSchema),
  /** Files of cgroups that take it in. */
  cgroups: v.array(path),
  /** Descriptors that it is handed, beside 0 to 2. */
  kept: v.array(number),
  /** Descriptors that it may have. */
  descriptors: number,
  /** Its working directory. */
  cwd: path,
  /** It ends with the process that starts it. */
  endsWithParent: v.optional(v.boolean()),
});

export type Plan = v.InferOutput<typeof planSchema>;
export type PlannedFile = Plan["files"][number];

/** Throws a ValiError for what is no plan. */
export function parsePlan(text: string): Plan {
  return v.parse(planSchema, JSON.parse(text));
}
