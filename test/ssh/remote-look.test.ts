/** The answer to the first look at the other host, however hostile: read, judged, and never trusted further than that. */
import { expect, test } from "bun:test";
import { readLook, requireSameMachine } from "../../src/ssh/remote-look.ts";

const usual: Record<string, string> = {
  system: "Linux",
  machine: "x86_64",
  uid: "1000",
  user: "ann",
  root: "sudo",
  cache: "/home/ann/.cache/migrate",
  cached: "",
  end: "yes",
};

const answer = (changes: Record<string, string | undefined> = {}): string =>
  Object.entries({ ...usual, ...changes })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `migrate:${key}=${value}`)
    .join("\n");

test("what a login script prints is passed over", () => {
  const look = readLook(`Welcome to hostb!\nmigrate is great\n${answer()}\nlast login: never`, "hostb");
  expect(look).toMatchObject({ system: "Linux", machine: "x86_64", uid: 1000, user: "ann", root: "sudo" });
});

test.each([
  ["no answer", ""],
  ["a shell that runs nothing", "This account is currently not available."],
  ["an answer that is cut", answer({ end: undefined })],
  ["no user", answer({ uid: "x" })],
  ["a way to root that there is none of", answer({ root: "please" })],
])("%s is refused", (_, text) => {
  expect(() => readLook(text, "hostb")).toThrow(expect.objectContaining({ code: "protocol" }));
});

test.each(["relative", "/home/o'hara/.cache/migrate", "/home/a\\b", "/home/!/x", ""])(
  "a cache at %j is refused",
  (cache) => {
    expect(() => readLook(answer({ cache }), "hostb")).toThrow(expect.objectContaining({ code: "policy" }));
  },
);

test("a path that no shell takes is no program, and an address that is none is not used", () => {
  const look = readLook(answer({ path: "/opt/o'hara/migrate", connection: "1 2 $(id) 22" }), "hostb");
  expect(look.inPath).toBeUndefined();
  expect(look.reachedAt).toBeUndefined();
});

test("another machine is named as it calls itself, and moves no cursor", () => {
  const machine = "\u001b[2Jsparc\u202e";
  const look = readLook(answer({ machine }), "hostb");
  expect(() => requireSameMachine(look, "x64", "hostb")).toThrow(
    "hostb is ?[2Jsparc?, and this program is for x86_64",
  );
  expect(() => requireSameMachine(readLook(answer(), "hostb"), "arm64", "hostb")).toThrow("is for aarch64");
  requireSameMachine(readLook(answer({ machine: "aarch64" }), "hostb"), "arm64", "hostb");
});

test("random text never does more than be refused", () => {
  const seed = Number(process.env.MIGRATE_TEST_SEED ?? 1);
  console.log(`answers to a look: MIGRATE_TEST_SEED=${seed}`);
  let state = seed;
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const text = answer({ path: "/usr/bin/migrate", pathhash: "0", connection: "1 2 3 4" });
  for (let round = 0; round < 2000; round += 1) {
    const changed = [...text];
    for (let n = next(6); n >= 0; n -= 1) changed[next(changed.length)] = String.fromCharCode(next(300));
    try {
      readLook(changed.join(""), "hostb");
    } catch (thrown) {
      expect(["protocol", "policy"]).toContain((thrown as { code: string }).code);
    }
  }
});
