/** Which of a VM's character devices a person may sit at, and what they are called in its run folder. */
import { expect, test } from "bun:test";
import { serialLines, socketName } from "../../../../../src/vm/qemu/definition/consoles/serial-lines.ts";
import { parseDefinition } from "../../../../../src/vm/qemu/definition/definition.ts";

const lines = (...words: string[]) =>
  serialLines(parseDefinition(["qemu-system-x86_64", "-nodefaults", ...words]));
const chardev = (id: string) => ["-chardev", `socket,id=${id},path=/x/${id},server=on,wait=off`];

test("serial ports and consoles are lines, in their order, each once", () => {
  expect(lines()).toEqual([]);
  expect(lines("-serial", "stdio", "-serial", "null", "-serial", "pty")).toEqual(["serial0", "serial1"]);
  expect(
    lines(
      ...chardev("b"),
      ...chardev("a"),
      ...chardev("c"),
      ...["-device", "isa-serial,chardev=a", "-serial", "chardev:b", "-device", "pci-serial,chardev=c"],
    ),
  ).toEqual(["a", "b", "c"]);
  expect(lines("-device", "virtio-serial-pci", ...chardev("v"), "-device", "virtconsole,chardev=v")).toEqual([
    "v",
  ]);
});

test("the channel of a guest agent is none, nor is what keeps its words in memory", () => {
  expect(
    lines("-device", "virtio-serial-pci", ...chardev("agent"), "-device", "virtserialport,chardev=agent"),
  ).toEqual([]);
  expect(lines("-chardev", "ringbuf,id=r,size=65536", "-serial", "chardev:r")).toEqual([]);
});

test("no line has the name of a file that is ours", () => {
  for (const id of [
    "qmp",
    "qemu",
    "swtpm",
    "vm",
    "processes",
    "keeper",
    "relay",
    "vnc",
    "migrate-serial-0",
    "tpm-x",
  ])
    expect(socketName({ id })).toBe(`chardev.${id}`);
  for (const id of ["serial0", "watch", "A_b-c"]) expect(socketName({ id })).toBe(id);
});
