/** The kinds of fields that messages are made of. Pure. */
import * as v from "valibot";

/** Lower-case hex digits, just so many. */
export const hex = (digits: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${digits}}$`)));
/** SHA-256 as text. */
export const digest = v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/));
/** A whole number from 0 to `most`. */
export const count = (most: number) => v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(most));
/** Text of at most so many bytes of UTF-8. */
export const text = (mostBytes: number) => v.pipe(v.string(), v.maxBytes(mostBytes));
/** A name that `check` finds nothing wrong with. */
export const named = (check: (name: string) => string | null) =>
  v.pipe(
    v.string(),
    v.check(
      (name) => check(name) === null,
      (issue) => check(String(issue.input)) ?? "is not a name",
    ),
  );

/** Where in a value a schema found something wrong, as a person would look for it: "files[0].kind"; "" for the whole. */
export function fieldPath(path: readonly { key?: unknown }[] | undefined): string {
  return (path ?? [])
    .map(({ key }) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");
}
