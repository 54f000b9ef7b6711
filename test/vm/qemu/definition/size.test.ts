/** How much memory and how many processors a command line asks for: as QEMU reads it. */
import { expect, test } from "bun:test";
import { parseDefinition } from "../../../../src/vm/qemu/definition/definition.ts";
import { memoryOf, processorsOf } from "../../../../src/vm/qemu/definition/size.ts";

const vm = (words: string[]) => parseDefinition(["qemu-system-x86_64", ...words]);
const MiB = 2 ** 20;

test.each([
  [[], 128 * MiB],
  [["-m", "2G,slots=4,maxmem=64G"], 2048 * MiB],
  [
    [
      "-m",
      "256",
      "-object",
      "memory-backend-ram,id=pc.ram,size=268435456",
      "-machine",
      "memory-backend=pc.ram",
    ],
    256 * MiB,
  ],
  [
    [
      "-m",
      "256",
      "-object",
      "memory-backend-memfd,id=a,size=1G",
      "-object",
      "memory-backend-ram,id=b,size=512M",
    ],
    1536 * MiB,
  ],
  [["-m", "256", "-object", "iothread,id=io"], 256 * MiB],
])("memory of %p", (words, bytes) => {
  expect(memoryOf(vm(words))).toBe(bytes);
});

test.each([
  [[], 1],
  [["-smp", "2"], 2],
  [["-smp", "cpus=2,maxcpus=8,sockets=8"], 2],
  [["-smp", "sockets=2,dies=1,cores=3,threads=2"], 12],
  // Without cpus= all that there may be are there from the start.
  [["-smp", "maxcpus=6"], 6],
])("processors of %p", (words, number) => {
  expect(processorsOf(vm(words))).toBe(number);
});
