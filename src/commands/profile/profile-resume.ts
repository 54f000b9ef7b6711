/** A profile's raw samples from their file, and what is left of a profile that was cut short. */
import { readFileSync } from "node:fs";
import { longestSamplesText, parseSamples } from "../../profiler/runs/parse-samples.ts";
import type { Plan, Samples } from "../../profiler/statistics/samples.ts";
import { MigrateError } from "../../protocol/errors.ts";

/** The samples in the file at `path`. Throws MigrateError "file-unusable" if it cannot be read or holds none. */
export function readSamples(path: string): Samples {
  let text: string;
  try {
    const bytes = readFileSync(path);
    if (bytes.length > longestSamplesText)
      throw new MigrateError("file-unusable", `${path} is too long to be a samples file`);
    text = bytes.toString();
  } catch (cause) {
    if (cause instanceof MigrateError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    throw new MigrateError(
      "file-unusable",
      code === "ENOENT" ? `${path} does not exist` : `${path} cannot be read: ${code}`,
      { cause },
    );
  }
  return parseSamples(text, path);
}

/** The plan of a profile that is resumed. Throws MigrateError "usage" if that cannot be done. */
export function planOf(samples: Samples, path: string, remote: boolean): Plan {
  if (samples.plan === undefined)
    throw new MigrateError("usage", `${path} does not say what else was to be measured`);
  if (!samples.partial)
    throw new MigrateError("usage", `${path} is complete: there is nothing left to measure`);
  const { link } = samples.environment;
  if ((link === "loopback") === remote) {
    throw new MigrateError("usage", `${path} was measured ${remote ? "on one host" : `to ${link}`}`, {
      hint: remote ? "Leave out --to." : `Add --to ${link}.`,
    });
  }
  return samples.plan;
}

/** The error that ended a profile early, with how to resume it; `samplesPath` is where what was measured is kept. */
export function cutShort(
  error: MigrateError,
  samples: Samples,
  samplesPath: string | undefined,
): MigrateError {
  const runs = samples.samples;
  const kept =
    runs.length === 0
      ? "Nothing had been measured yet."
      : samplesPath === undefined
        ? `What was measured (${runs.length} runs) is in the event before this one: saved to a file, --resume FILE resumes it.`
        : `What was measured (${runs.length} runs) is kept; to resume: migrate profile --resume ${samplesPath}${samples.environment.link === "loopback" ? "" : ` --to ${samples.environment.link}`}`;
  return new MigrateError(error.code, error.message, {
    side: error.side,
    cause: error,
    hint: error.code === "interrupted" || error.hint === undefined ? kept : `${error.hint}\n${kept}`,
  });
}
