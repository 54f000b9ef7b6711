/** Which VMs have a screen, what shows it at the destination, and what is said of that before one goes. */
import { describe, expect, test } from "bun:test";
import { changeNotes, commandLine } from "../../../../../src/vm/qemu/definition/command-line.ts";
import { hasScreen, vncOf } from "../../../../../src/vm/qemu/definition/consoles/display.ts";
import { parseDefinition } from "../../../../../src/vm/qemu/definition/definition.ts";

const parse = (...words: string[]) => parseDefinition(["qemu-system-x86_64", ...words]);
const place = {
  binary: "/usr/bin/qemu-system-x86_64",
  file: () => "/x",
  socketFolder: "/run/a,b",
  tpmSocket: null,
  allowTcg: true,
  kvmUsable: false,
  net: { kind: "none" },
} as const;

test.each([
  [true, []],
  [false, ["-nodefaults"]],
  [false, ["-vga", "none"]],
  [true, ["-nodefaults", "-vga", "std"]],
  [true, ["-nodefaults", "-device", "virtio-gpu-pci"]],
  [true, ["-vga", "none", "-device", "qxl"]],
  [false, ["-nodefaults", "-device", "virtio-net-pci"]],
])("it is %p that a VM has a screen with %p", (has, words) => {
  const model = parse(...words);
  expect(hasScreen(model)).toBe(has);
  expect(vncOf(model, "unix")).toBe(has ? "unix" : "none");
  expect(vncOf(model)).toBe("none");
});

// [MODEL-6]
describe("at the destination", () => {
  const vncIn = (vnc: "none" | "unix" | "127.0.0.1" | undefined, ...words: string[]) => {
    const argv = commandLine({ ...parse(...words), name: "a" }, { ...place, vnc });
    const at = argv.indexOf("-vnc");
    return at < 0 ? null : argv[at + 1];
  };

  test("a screen is on a socket of the run folder if its administrator says so, and nowhere else", () => {
    const source = ["-vnc", "0.0.0.0:1,password=on", "-spice", "port=5901"];
    expect(vncIn(undefined, ...source)).toBeNull();
    expect(vncIn("none", ...source)).toBeNull();
    for (const vnc of ["unix", "127.0.0.1"] as const) {
      expect(vncIn(vnc, ...source)).toBe("unix:/run/a,,b/vnc.sock");
      // Also of a VM that was shown nowhere, and not of one without a screen.
      expect(vncIn(vnc)).toBe("unix:/run/a,,b/vnc.sock");
      expect(vncIn(vnc, "-nodefaults")).toBeNull();
    }
  });

  test("what becomes of a display is said, of each that the source had", () => {
    const definition = parse("-vnc", ":0,password=on", "-spice", "port=1", "-k", "de");
    const said = (vnc?: "none" | "unix" | "127.0.0.1") => changeNotes(definition, undefined, vnc).join("\n");
    for (const vnc of [undefined, "none"] as const) {
      expect(said(vnc)).toContain("-vnc is left out: the destination shows no display");
      expect(said(vnc)).toContain("-spice is left out: the destination shows no display");
    }
    expect(said("unix")).toMatch(/-vnc is left out: .*socket.*no password goes along/);
    expect(said("127.0.0.1")).toMatch(/-vnc is left out: .*127\.0\.0\.1.*no password goes along/);
    expect(changeNotes(parse("-display", "none"), undefined, "none")).toEqual([]);
  });
});
