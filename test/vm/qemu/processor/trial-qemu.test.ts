/** What is asked of a QEMU over its standard streams, where what answers is none: the asker is told, and waits for nobody. */
import { describe, expect, test } from "bun:test";
import { isRunning, processId } from "../../../../src/platform/process-id.ts";
import { TrialQemu } from "../../../../src/vm/qemu/processor/trial-qemu.ts";
import { QmpError } from "../../../../src/vm/qemu/qmp/qmp-error.ts";

const greeting = JSON.stringify({
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 1 } }, capabilities: [] },
});
/** A program that greets, answers two commands as QEMU does, and then what the lines do. */
const answering = (...lines: string[]) => [
  "sh",
  "-c",
  [
    `echo '${greeting}'`,
    `read a; echo '{"return":{},"id":1}'`,
    `read a; echo '{"return":{},"id":2}'`,
    ...lines,
  ].join("\n"),
];

async function started(argv: string[]): Promise<TrialQemu> {
  const qemu = await TrialQemu.start(argv);
  if (!(qemu instanceof TrialQemu)) throw new Error(qemu.lastErrors);
  return qemu;
}

const kindOf = (asked: Promise<unknown>) =>
  asked.then(
    () => "answered",
    (thrown: unknown) => (thrown as QmpError).kind,
  );

describe("a program that is started to be asked", () => {
  test("answers in the order in which it was asked, events between; what it refuses is told apart", async () => {
    await using qemu = await started(
      answering(
        `read a; echo '{"event":"RESUME","timestamp":{"seconds":1,"microseconds":2}}'; echo '{"return":[1],"id":3}'`,
        `read a; echo '{"error":{"class":"GenericError","desc":"no"},"id":4}'`,
        "read a",
      ),
    );
    const [first, second] = [qemu.ask("one"), qemu.ask("two")];
    second.catch(() => {});
    expect(await first).toEqual([1]);
    expect(await second.catch((thrown: unknown) => thrown)).toBeInstanceOf(QmpError);
    expect(await qemu.version).toEqual({ major: 7, minor: 2, micro: 1 });
  });

  test("and ends before it answers is quoted, without its folders", async () => {
    expect(await TrialQemu.start(["sh", "-c", "echo /usr/lib/qemu: cannot do that >&2; exit 1"])).toEqual({
      lastErrors: "qemu: cannot do that",
    });
  });

  test("and is not there is told", async () => {
    expect(await TrialQemu.start(["/nonexistent/qemu"])).toEqual({
      lastErrors: expect.stringContaining("does not start"),
    });
  });

  test.each([
    ["ends", "exit 0", "interrupted"],
    ["says what is no QMP", "echo nonsense; read a", "malformed"],
    [
      "answers what nobody asked",
      `echo '{"return":{},"id":9}'; echo '{"return":{},"id":9}'; read a`,
      "answered",
    ],
    ["says a line without end", "yes x | tr -d '\\n'", "malformed"],
    ["says more and more", `yes '{"event":"E","timestamp":{"seconds":1,"microseconds":2}}'`, "malformed"],
  ])("and then %s is waited for no more", async (_, line, kind) => {
    await using qemu = await started(answering(`read a\n${line}`));
    expect(await kindOf(qemu.ask("what"))).toBe(kind);
    // Whatever came, nothing comes after it.
    if (kind !== "answered") expect(await kindOf(qemu.ask("more"))).toBe(kind);
  });

  test("is gone once it is not needed, whatever it does", async () => {
    const qemu = await started(
      answering(`read a; echo "{\\"return\\":$$,\\"id\\":3}"`, "trap '' TERM", "exec sleep 1000"),
    );
    const process = processId(Number(await qemu.ask("pid")))!;
    await qemu[Symbol.asyncDispose]();
    expect(isRunning(process)).toBe(false);
  });
});
