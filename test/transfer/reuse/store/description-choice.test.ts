import { describe, expect, test } from "bun:test";
import { DescriptionChoice } from "../../../../src/transfer/reuse/store/description-choice.ts";

const fullBytes = 1024 * 1024;

/** How many of the next `chunks` full chunks are described, where `found` says what comes of each of them. */
function described(choice: DescriptionChoice, chunks: number, found: boolean): number {
  let count = 0;
  for (let i = 0; i < chunks; i++) {
    if (!choice.next(fullBytes)) continue;
    count++;
    choice.answered(found);
  }
  return count;
}

describe("which chunks are described", () => {
  test("all, as long as something is found now and then", () => {
    const choice = new DescriptionChoice();
    for (let round = 0; round < 10; round++) {
      expect(described(choice, 31, false)).toBe(31);
      expect(described(choice, 1, true)).toBe(1);
    }
  });

  test("one of eight, once nothing was found of 32 in a row", () => {
    const choice = new DescriptionChoice();
    expect(described(choice, 32, false)).toBe(32);
    expect(described(choice, 800, false)).toBe(100);
    // Each eighth one, and not a hundred at once.
    for (let i = 0; i < 20; i++) expect(described(choice, 8, false)).toBe(1);
  });

  test("are those that are due, so that nobody needs the block hashes of the others", () => {
    const choice = new DescriptionChoice();
    for (let i = 0; i < 200; i++) {
      const { isDue } = choice;
      expect(choice.next(fullBytes)).toBe(isDue);
      if (isDue) choice.answered(i === 150);
    }
  });

  test("all again after the first find", () => {
    const choice = new DescriptionChoice();
    described(choice, 500, false);
    choice.answered(true);
    expect(described(choice, 32, false)).toBe(32);
    expect(described(choice, 80, false)).toBe(10);
  });

  test("none that is about as cheap to send, and such chunks are not counted", () => {
    const choice = new DescriptionChoice();
    for (let i = 0; i < 100; i++) expect(choice.next(16 * 1024 - 1)).toBe(false);
    expect(choice.next(0)).toBe(false);
    expect(choice.next(16 * 1024)).toBe(true);
    described(choice, 32, false);
    for (let turn = 0; turn < 5; turn++) {
      for (let i = 0; i < 7; i++) {
        expect(choice.next(100)).toBe(false);
        expect(choice.next(fullBytes)).toBe(false);
      }
      expect(choice.next(fullBytes)).toBe(true);
    }
  });

  test("those that are under way when the 32nd answer comes are not taken back", () => {
    const choice = new DescriptionChoice();
    for (let i = 0; i < 40; i++) expect(choice.next(fullBytes)).toBe(true);
    for (let i = 0; i < 40; i++) choice.answered(false);
    expect(described(choice, 80, false)).toBe(10);
  });
});
