/** Until when, and how much: what a line of the trust file may say of it, and what several lines say together. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TrustFile } from "../../../src/channel/trust.ts";
import { steadyClock } from "../../../src/channel/trusted/steady-clock.ts";
import { endOf, isExpired, parseTerms, termsText } from "../../../src/channel/trusted/trust-terms.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const [a, b] = ["aa", "bb"].map((byte) => `sha256:${byte.repeat(32)}`) as [string, string];

let home: string;
let nowMs = 0;
eachTestInFolder("migrate-terms-", (made) => {
  home = made;
  nowMs = Date.UTC(2027, 0, 15);
});
const write = (text: string) => writeFileSync(join(home, "trust"), text, { mode: 0o600 });
const read = () => readFileSync(join(home, "trust"), "utf8");
const load = () => TrustFile.load(home, () => nowMs);

describe("the terms of a line", () => {
  test("are read as they are written, in any order, and written the same way", () => {
    const words = ["max-sessions=2", "expires=2027-01-31", "max-vms=5", "max-bytes=1T"];
    const terms = parseTerms(words);
    expect(terms).toEqual({ expires: "2027-01-31", maxBytes: 1024 ** 4, maxVms: 5, maxSessions: 2 });
    expect(termsText(terms as object)).toBe(" expires=2027-01-31 max-bytes=1T max-vms=5 max-sessions=2");
    expect(termsText({ maxBytes: 1536 * 1024 ** 2 })).toBe(" max-bytes=1536M");
    expect(termsText({ maxBytes: 1 })).toBe(" max-bytes=1");
  });

  test("a day ends with its last moment in UTC, and a time is its own", () => {
    expect(endOf("2027-01-31")).toBe(Date.UTC(2027, 1, 1));
    expect(endOf("2028-02-29")).toBe(Date.UTC(2028, 2, 1));
    expect(endOf("2027-01-31T12:00:00Z")).toBe(Date.UTC(2027, 0, 31, 12));
    expect(endOf("2027-01-31T12:00:00.250+02:00")).toBe(Date.UTC(2027, 0, 31, 10, 0, 0, 250));
    expect(isExpired({ expires: "2027-01-31" }, Date.UTC(2027, 1, 1) - 1)).toBe(false);
    expect(isExpired({ expires: "2027-01-31" }, Date.UTC(2027, 1, 1))).toBe(true);
    expect(isExpired({}, Number.MAX_SAFE_INTEGER)).toBe(false);
  });

  test.each([
    ["expires=2027-02-30", "expires must be a day such as 2027-01-31"],
    ["expires=2027-02-30T10:00:00Z", "expires must be"],
    ["expires=2027-1-31", "expires must be"],
    ["expires=31.01.2027", "expires must be"],
    ["expires=2027-01-31T24:00:00Z", "expires must be"],
    ["expires=2027-01-31T10:00:00", "expires must be"],
    ["expires=", "expires must be"],
    ["expires=never", "expires must be"],
    ["max-bytes=0", "max-bytes must be bytes from 1 on"],
    ["max-bytes=1.5T", "max-bytes must be"],
    ["max-bytes=-1", "max-bytes must be"],
    ["max-bytes=999999999999999T", "max-bytes must be"],
    ["max-vms=0", "max-vms must be a whole number from 1 to 65536"],
    ["max-vms=65537", "max-vms must be"],
    ["max-sessions=two", "max-sessions must be"],
    ["max-vms=1 max-vms=2", "max-vms stands there twice"],
    [
      "max_vms=1",
      "there is something behind the name that is neither a # comment nor one of expires=, max-bytes=",
    ],
    ["=1", "there is something behind the name"],
    ["until=2027-01-31", "there is something behind the name"],
  ])("%p is an error that names the line, and nobody is trusted meanwhile", (words, fault) => {
    write(`${b} source good\n${a} source web ${words} # a remark\n`);
    expect(() => TrustFile.load(home)).toThrow(`${join(home, "trust")}, line 2: ${fault}`);
  });

  test("how much may be brought is about a source", () => {
    for (const word of ["max-bytes=1G", "max-vms=1", "max-sessions=1"]) {
      write(`${a} destination web ${word}\n`);
      expect(() => TrustFile.load(home)).toThrow("are about a source, which this is not");
      write(`${a} source,destination web ${word}\n`);
      expect(load().allows(a, "source")).toBe(true);
    }
  });
});

describe("trust that expires", () => {
  test("holds to its end and no longer, in a process that runs", () => {
    write(`${a} source web expires=2027-01-31\n`);
    const trust = load();
    nowMs = Date.UTC(2027, 1, 1) - 1;
    expect(trust.standing(a, "source")).toBe("trusted");
    nowMs += 1;
    expect(trust.standing(a, "source")).toBe("expired");
    expect(trust.allows(a, "source")).toBe(false);
    expect(trust.standing(a, "destination")).toBe("unknown");
  });

  test("is not prolonged by another line of the same host", () => {
    write(
      `${a} source 192.0.2.1 # paired\n${a} source web expires=2027-01-10 max-vms=5\n${a} source c max-vms=3 max-bytes=1G\n`,
    );
    expect(load().standing(a, "source")).toBe("expired");
    expect(load().terms(a, "source")).toEqual({ expires: "2027-01-10", maxVms: 3, maxBytes: 1024 ** 3 });
    write(`${a} source one expires=2027-02-01\n${a} source two expires=2027-01-31T23:00:00-02:00\n`);
    expect(load().terms(a, "source")).toEqual({ expires: "2027-01-31T23:00:00-02:00" });
  });

  test("of one role says nothing of the other", () => {
    write(`${a} source web expires=2027-01-10\n${a} destination web:7600\n`);
    expect([load().allows(a, "source"), load().allows(a, "destination")]).toEqual([false, true]);
    expect([...load().destinations()]).toEqual([[a, "web:7600"]]);
  });

  test("is given anew by who trusts the host again, for that role alone, and its bounds stay", async () => {
    write(`${a} source,destination web expires=2027-01-10 max-vms=5 # rack 2\n`);
    await load().add(a, "source", "192.0.2.1");
    expect(read()).toBe(
      `${a} destination web expires=2027-01-10 # rack 2\n${a} source web max-vms=5 # rack 2\n${a} source 192.0.2.1\n`,
    );
    expect(load().standing(a, "source")).toBe("trusted");
    expect(load().standing(a, "destination")).toBe("expired");
    expect(load().terms(a, "source")).toEqual({ maxVms: 5 });
  });

  test("and of who is trusted under the same name again its line stays one", async () => {
    write(`${a} source web expires=2027-01-10 max-vms=5\n`);
    await load().add(a, "source", "web", undefined, { expires: "2027-03-01", maxBytes: 1024 });
    expect(read()).toBe(`${a} source web expires=2027-03-01 max-bytes=1K max-vms=5\n`);
    // What is not over is changed by a word alone.
    await load().add(a, "source", "web");
    expect(read()).toBe(`${a} source web expires=2027-03-01 max-bytes=1K max-vms=5\n`);
  });
});

test("a clock that is set back takes no time back from what expires, and one that goes on is followed", () => {
  let [wall, monotonic] = [1_000_000, 50];
  const clock = steadyClock(
    () => wall,
    () => monotonic,
  );
  expect(clock()).toBe(1_000_000);
  wall = 5;
  monotonic += 100;
  expect(clock()).toBe(1_000_100);
  monotonic += 1_000;
  expect(clock()).toBe(1_001_100);
  wall = 2_000_000;
  expect(clock()).toBe(2_000_000);
});
