/** Reads the text of a samples file; an error tells in a sentence what is wrong with it. Pure. */
import * as v from "valibot";
import { MigrateError } from "../../protocol/errors.ts";
import { fieldPath } from "../../protocol/fields.ts";
import { type Samples, samplesSchema, samplesVersion } from "../statistics/samples.ts";

/** Longer text is no samples file: a profile of 10,000 runs has about 12 million characters. */
export const longestSamplesText = 64 * 1024 * 1024;

/**
 * The samples in the text of `samples.json`. `name` is what the sentences call the file.
 * Throws MigrateError "file-unusable" for text that is empty, too long, cut short or no JSON, for another format, for
 * another version (a newer one names itself), for a field that is missing or wrong (the first one is named), and
 * for a file without a single sample.
 */
export function parseSamples(text: string, name: string): Samples {
  if (text.length > longestSamplesText)
    throw wrong(
      `${name} is too long to be a samples file`,
      "give the samples.json that `migrate profile` wrote",
    );
  const file = parseJson(text.replace(/^\uFEFF/, ""), name);
  if (!isRecord(file) || file.format !== "migrate-profile")
    throw wrong(
      `${name} is not a samples file of \`migrate profile\``,
      "give the samples.json that `migrate profile` wrote",
    );
  checkVersion(file.version, name);
  const parsed = v.safeParse(samplesSchema, file, { abortEarly: true });
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw wrong(
      `${name} is damaged: ${fieldPath(issue.path) || "the file"} is not what it must be (${issue.message})`,
      "measure again, or take a copy that nobody has edited",
    );
  }
  if (parsed.output.samples.length === 0)
    throw wrong(`${name} holds no samples: the profile ended before its first run did`, "measure again");
  return parsed.output;
}

function parseJson(text: string, name: string): unknown {
  const end = text.trimEnd();
  if (end === "") throw wrong(`${name} is empty`, "give the samples.json that `migrate profile` wrote");
  try {
    return JSON.parse(end);
  } catch {
    throw isCutShort(end)
      ? wrong(`${name} is cut short: its end is missing`, "copy it again, or measure again")
      : wrong(`${name} is not JSON`, "give the samples.json that `migrate profile` wrote");
  }
}

/** Whether text that begins as an object ends within a string or with a bracket still open. */
function isCutShort(text: string): boolean {
  if (!text.trimStart().startsWith("{")) return false;
  const outsideStrings = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"/gs, "");
  const count = (brackets: RegExp) => outsideStrings.match(brackets)?.length ?? 0;
  return outsideStrings.includes('"') || count(/[{[]/g) > count(/[}\]]/g);
}

function checkVersion(version: unknown, name: string): void {
  if (version === samplesVersion) return;
  if (typeof version === "number" && version > samplesVersion)
    throw wrong(
      `${name} comes from a newer migrate: its samples have version ${version}, this migrate reads version ${samplesVersion}`,
      "use the migrate that measured them, or a newer one",
    );
  throw wrong(
    `${name} is damaged: it does not say a version of its samples that this migrate knows`,
    "measure again, or take a copy that nobody has edited",
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(message: string, hint: string): MigrateError {
  return new MigrateError("file-unusable", message, { hint });
}
