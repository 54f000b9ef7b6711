/** Every way in which a samples file can be wrong has its own sentence. */
import { describe, expect, test } from "bun:test";
import { longestSamplesText, parseSamples } from "../../../src/profiler/runs/parse-samples.ts";
import { samplesVersion } from "../../../src/profiler/statistics/samples.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { syntheticSamples } from "../../support/files/synthetic-samples.ts";

const good = syntheticSamples({ ramMiB: [128], diskMiB: [0], runs: 2 });
const text = JSON.stringify(good, undefined, 2);

function refusal(of: string): MigrateError {
  try {
    parseSamples(of, "old.json");
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(MigrateError);
    const error = thrown as MigrateError;
    expect(error.code).toBe("file-unusable");
    expect(error.hint).toBeString();
    expect(error.message).toStartWith("old.json ");
    return error;
  }
  throw new Error("it was taken");
}

/** The good file with one field changed, by its path. */
function changed(path: readonly (string | number)[], value: unknown): string {
  const file = JSON.parse(text);
  const last = path.at(-1)!;
  const place = path.slice(0, -1).reduce((at, key) => at[key], file);
  if (value === undefined) delete place[last];
  else place[last] = value;
  return JSON.stringify(file);
}

describe("a samples file", () => {
  test("comes back as it was written, with a byte order mark and a newline at its end too", () => {
    expect(parseSamples(text, "old.json")).toEqual(good);
    expect(parseSamples(`\uFEFF${text}\n`, "old.json")).toEqual(good);
  });

  test("from a newer version is told apart from a damaged one", () => {
    expect(refusal(changed(["version"], samplesVersion + 1)).message).toBe(
      `old.json comes from a newer migrate: its samples have version ${samplesVersion + 1}, this migrate reads version ${samplesVersion}`,
    );
    // A newer version may look different in everything else.
    expect(refusal(JSON.stringify({ format: "migrate-profile", version: 99, runs: {} })).message).toContain(
      "newer migrate",
    );
    for (const version of [0, "1", null, undefined, 0.5])
      expect(refusal(changed(["version"], version)).message).toContain("does not say a version");
  });

  test("that was cut anywhere is cut short", () => {
    for (let length = 1; length < text.length; length += 1 + Math.floor(text.length / 400))
      expect(refusal(text.slice(0, length)).message).toBe("old.json is cut short: its end is missing");
    // Just behind a closing brace, where a look at the last character is not enough.
    const brace = text.lastIndexOf("}", text.length - 3);
    expect(refusal(text.slice(0, brace + 1)).message).toContain("cut short");
  });

  test("that is empty, no JSON or something else says so", () => {
    expect(refusal("").message).toBe("old.json is empty");
    expect(refusal(" \n").message).toBe("old.json is empty");
    expect(refusal("order,suite,engine\n0,tls,thesis\n").message).toBe("old.json is not JSON");
    for (const other of ["[]", "null", "7", '"x"', "{}", '{"format":"other","version":1}'])
      expect(refusal(other).message).toContain("is not a samples file");
  });

  test("that is far too long is refused before it is parsed", () => {
    expect(refusal(" ".repeat(longestSamplesText + 1)).message).toContain("too long");
  });

  test("with a wrong field names the field", () => {
    const wrong: [readonly (string | number)[], unknown, string][] = [
      [["samples", 3, "source", "userMs"], -1, "samples[3].source.userMs"],
      [["samples", 0, "suite"], "rot13", "samples[0].suite"],
      [["samples", 1, "ramBytes"], 1.5, "samples[1].ramBytes"],
      [["samples", 1, "ramBytes"], 2 ** 63, "samples[1].ramBytes"],
      [
        ["samples", 2, "destination", "operationsMs", "verify"],
        null,
        "samples[2].destination.operationsMs.verify",
      ],
      [["samples", 2, "totalMs"], undefined, "samples[2].totalMs"],
      [["environment", "cores"], 0, "environment.cores"],
      [["partial"], "no", "partial"],
      [["samples"], {}, "samples"],
    ];
    for (const [path, value, field] of wrong)
      expect(refusal(changed(path, value)).message).toContain(`is damaged: ${field} is not what it must be`);
  });

  test("without samples cannot be drawn", () => {
    expect(refusal(changed(["samples"], [])).message).toContain("holds no samples");
  });
});
