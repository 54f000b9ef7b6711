/** Whose trial of a QEMU is next at a destination that is asked a lot. */
import { expect, test } from "bun:test";
import { TrialTurns } from "../../../../src/migration/providers/qemu/processors/trial-turns.ts";

/** Trials that end when the test lets them; `begun` has them in their order. */
function played() {
  const turns = new TrialTurns();
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const gone = new Set<string>();
  const ask = (source: string, name: string) =>
    turns.run({ source, isOver: () => gone.has(name) }, async () => {
      begun.push(name);
      await new Promise<void>((resolve) => ends.push(resolve));
      return name;
    });
  const endNext = async () => {
    ends.shift()!();
    await new Promise(setImmediate);
  };
  return { ask, begun, gone, endNext };
}

test("sources take turns, however many trials one of them asks for, and one runs at a time", async () => {
  const { ask, begun, endNext } = played();
  const asked = ["a1", "a2", "a3", "a4"].map((name) => ask("greedy", name));
  const honest = ask("honest", "b1");
  expect(begun).toEqual(["a1"]);
  await endNext();
  expect(begun).toEqual(["a1", "a2"]);
  await endNext();
  expect(await Promise.race([honest, "not yet"])).toBe("not yet");
  expect(begun).toEqual(["a1", "a2", "b1"]);
  for (let i = 0; i < 3; i++) await endNext();
  expect(await Promise.all([...asked, honest])).toEqual(["a1", "a2", "a3", "a4", "b1"]);
});

test("what nobody waits for is not tried, and what fails keeps nobody from their turn", async () => {
  const { ask, begun, gone, endNext } = played();
  const [first, left, last] = [ask("a", "a1"), ask("a", "a2"), ask("a", "a3")];
  const failed = new TrialTurns();
  gone.add("a2");
  const refused = left.catch((error: unknown) => error);
  await endNext();
  expect(await refused).toMatchObject({ code: "cancelled" });
  expect(begun).toEqual(["a1", "a3"]);
  await endNext();
  expect(await Promise.all([first, last])).toEqual(["a1", "a3"]);
  const asker = { source: "a", isOver: () => false };
  const broken = failed.run(asker, () => Promise.reject(new Error("QEMU ended")));
  const after = failed.run(asker, async () => "tried");
  await expect(broken).rejects.toThrow("QEMU ended");
  expect(await after).toBe("tried");
});
