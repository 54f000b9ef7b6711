/** A VM that is larger than the host's free memory or processors is refused, with both numbers. */
import { describe, expect, test } from "bun:test";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { checkHostRoom, hostRoom } from "../../../src/vm/qemu/host-room.ts";
import { refusalOf } from "../../support/system/refusals.ts";

const vm = (...words: string[]) => parseDefinition(["qemu-system-x86_64", ...words]);
const room = { memoryBytes: 2 ** 30, processors: 4 };

describe("refused", () => {
  test.each([
    [["-m", "1025"], "1025 MiB of memory, and the destination has 1024 MiB free"],
    [["-m", "4T"], "4194304 MiB of memory, and the destination has 1024 MiB free"],
    [["-m", "64", "-object", "memory-backend-ram,id=a,size=2G"], "2048 MiB of memory"],
    [["-smp", "5"], "5 processors, and the destination has 4"],
    [["-smp", "sockets=2,cores=4"], "8 processors, and the destination has 4"],
  ])("%p", (words, sentence) => {
    const refusal = refusalOf(() => checkHostRoom(vm(...words), room), "policy");
    expect(refusal.message).toContain(sentence);
    expect([refusal.side, refusal.hint]).toEqual([
      "destination",
      expect.stringContaining("start the VM with"),
    ]);
  });
});

test.each([[["-m", "1024"]], [["-smp", "4,maxcpus=64"]], [[]]])("taken: %p", (words) => {
  checkHostRoom(vm(...words), room);
});

test("this host has some of both", () => {
  const { memoryBytes, processors } = hostRoom();
  expect([memoryBytes > 0, processors > 0]).toEqual([true, true]);
});
