import { describe, expect, test } from "bun:test";
import { editDistance, suggest } from "../../../src/commands/cli/suggest.ts";

describe("suggestions", () => {
  test("slips of the keys count one each", () => {
    expect([
      editDistance("send", "send"),
      editDistance("sned", "send"),
      editDistance("sen", "send"),
      editDistance("", "abc"),
    ]).toEqual([0, 1, 1, 3]);
  });

  test("near words and beginnings are suggested, far ones are not", () => {
    const words = ["serve", "send", "status", "history"];
    expect(["sevre", "sned", "stat", "SEND", "hist"].map((word) => suggest(word, words))).toEqual([
      "serve",
      "send",
      "status",
      "send",
      "history",
    ]);
    expect(["x", "migrate", ""].map((word) => suggest(word, words))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  test("a huge word costs nothing", () => {
    expect(suggest("x".repeat(1_000_000), ["serve"])).toBeUndefined();
  });
});
