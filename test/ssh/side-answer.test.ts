/** The line that `migrate ssh-side` answers with: nothing of it is used that is not what was asked for. */
import { expect, test } from "bun:test";
import { readSideAnswer } from "../../src/ssh/side-answer.ts";

const opened = {
  answer: "opened",
  store: "/srv/vms",
  way: "/run/migrate-ssh/0123456789abcdef",
  tcp: [{ host: "192.0.2.7", port: 7600 }],
  fingerprint: `sha256:${"0".repeat(64)}`,
  ticket: "mig1-x",
  found: false,
};
const read = (changes: object) =>
  readSideAnswer(`a word before\n${JSON.stringify({ ...opened, ...changes })}\n`, "hostb");

test("the last line counts", () => {
  expect(read({}) as object).toEqual(opened);
  expect(read({ way: "192.0.2.7:7600" })?.way).toBe("192.0.2.7:7600");
  expect(read({ way: "[2001:db8::7]:7600" })?.way).toBe("[2001:db8::7]:7600");
});

test("no answer is none", () => {
  expect(readSideAnswer("", "hostb")).toBeNull();
  expect(readSideAnswer("sudo: a password is required\n", "hostb")).toBeNull();
});

test.each([
  [{ way: "/run/a b" }],
  [{ way: "/run/x:/etc/passwd" }],
  [{ way: "-oProxyCommand=x:1" }],
  [{ way: "relative" }],
  // ssh replaces both by what it knows of the source's user.
  [{ way: `/$${"{SECRET}"}/x` }],
  [{ way: "/run/%u" }],
  [{ way: "/run/x\n" }],
  [{ store: "srv" }],
  [{ tcp: [{ host: "-x", port: 1 }] }],
  [{ tcp: [{ host: "a b", port: 1 }] }],
  [{ tcp: [{ host: "a", port: 0 }] }],
  [{ tcp: Array(17).fill({ host: "a", port: 1 }) }],
  [{ fingerprint: "sha256:0" }],
  [{ ticket: "x".repeat(2000) }],
  [{ answer: "else" }],
])("%j is refused", (changes) => {
  expect(() => read(changes)).toThrow(expect.objectContaining({ code: "protocol" }));
});

test("a failure there is one here, with its code and its way out, printable", () => {
  const failed = (code: string) => () =>
    readSideAnswer(
      JSON.stringify({ answer: "failed", code, message: "no\u001b room", hint: "make\u202e some" }),
      "hostb",
    );
  expect(failed("no-room")).toThrow(
    expect.objectContaining({
      code: "no-room",
      message: "hostb: no? room",
      hint: "make? some",
      side: "destination",
    }),
  );
  expect(failed("made-up")).toThrow(expect.objectContaining({ code: "protocol" }));
});
