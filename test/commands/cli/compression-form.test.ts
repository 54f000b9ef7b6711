/** The value of --compress. */
import { expect, test } from "bun:test";
import { parseCompression } from "../../../src/commands/cli/compression-form.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";

test("auto, off and every level from 1 to 19 are taken", () => {
  expect(parseCompression("auto")).toBe("auto");
  expect(parseCompression("off")).toBe("off");
  for (let level = 1; level <= 19; level++) expect(parseCompression(`${level}`)).toBe(level);
});

test("anything else is refused with a sentence that says what is possible", () => {
  for (const text of ["", "0", "20", "-1", "01", "1.5", "1e1", " 3", "3 ", "on", "AUTO", "zstd", "100"]) {
    const refusal = () => parseCompression(text);
    expect(refusal).toThrow(MigrateError);
    expect(refusal).toThrow(`must be auto, off or a level from 1 to 19, not "${text}"`);
  }
});
