/** The virsh that waits for its one command, with the domains that libvirt itself has for tests (drvtest). */
import { afterEach, expect, test } from "bun:test";
import { Virsh } from "../../../src/vm/libvirt/virsh.ts";
import { WaitingVirsh } from "../../../src/vm/libvirt/waiting-virsh.ts";

/** Each connection to libvirt's test driver has a domain "test" of its own, which runs. */
class TestVirsh extends Virsh {
  override readonly uri = "test:///default";

  constructor() {
    super("qemu:///system", "destination");
  }
}

const waiting: WaitingVirsh[] = [];
function waits(): WaitingVirsh {
  const one = new WaitingVirsh(new TestVirsh());
  waiting.push(one);
  return one;
}
afterEach(() => {
  for (const one of waiting.splice(0)) one.close();
});

test("it says that its command was done", async () => {
  expect(await waits().run(["suspend", "--domain", "test"])).toBe(true);
});

test("it does not say so of what libvirt refuses", async () => {
  expect(await waits().run(["resume", "--domain", "test"])).toBe(false);
  expect(await waits().run(["suspend", "--domain", "nosuch"])).toBe(false);
  expect(await waits().run(["nosuch-command"])).toBe(false);
});

test("it does not say so if it has ended before", async () => {
  const one = waits();
  one.close();
  expect(await one.run(["suspend", "--domain", "test"])).toBe(false);
});

test("what is more than one word is no word", async () => {
  expect(await waits().run(["suspend", "test; destroy test"])).toBe(false);
  expect(await waits().run(["suspend", "test\nundefine test"])).toBe(false);
});
