import { expect, test } from "bun:test";
import { join } from "node:path";
import { expectIncoming } from "../../../src/vm/qemu/incoming.ts";
import { Qmp } from "../../../src/vm/qemu/qmp/qmp.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { greetingLine, PlayedQemu } from "./qmp/played-qemu.ts";

let folder: string;
eachTestInFolder("migrate-incoming-", (made) => {
  folder = made;
});

/** Asks a QEMU of this version to take a VM in; what it was told, and how that ended. */
async function asked(
  major: number,
  minor: number,
  announces = true,
): Promise<{ told: string[]; message: string }> {
  const told: string[] = [];
  const greeting = greetingLine.replace(/"minor": \d+, "major": \d+/, `"minor": ${minor}, "major": ${major}`);
  const path = join(folder, "qmp");
  const played = await PlayedQemu.listen(path, async (monitor) => {
    await monitor.write(greeting);
    for (;;) {
      const { execute, id } = await monitor.command();
      if (execute !== "qmp_capabilities") told.push(execute);
      await monitor.say({ return: {}, id });
    }
  });
  const qmp = await Qmp.connect(path);
  try {
    const incoming = {
      ramPath: join(folder, "ram"),
      channels: 0,
      nbd: { path: join(folder, "nbd"), nodes: ["a"] },
      announces,
    };
    const message = await expectIncoming(qmp, incoming).then(
      () => "",
      ({ code, message }) => `${code}: ${message}`,
    );
    return { told, message };
  } finally {
    qmp.close();
    played.close();
  }
}

test.each([
  [5, 1],
  [4, 2],
])("a QEMU %d.%d is too old to take a VM in, and is told nothing", async (major, minor) => {
  expect(await asked(major, minor)).toEqual({
    told: [],
    message: `policy: the destination's QEMU is ${major}.${minor}; to take in a VM that runs it must be 5.2 or later`,
  });
});

test.each([
  [5, 2],
  [6, 0],
  [10, 1],
])("a QEMU %d.%d waits for disks and RAM", async (major, minor) => {
  const { told, message } = await asked(major, minor);
  expect(message).toBe("");
  expect(told).toEqual([
    "migrate-set-capabilities",
    "nbd-server-start",
    "block-export-add",
    "migrate-incoming",
  ]);
});

test("one that is not to say where the VM's cards are is told so before anything comes", async () => {
  const { told } = await asked(7, 2, false);
  expect(told.slice(0, 2)).toEqual(["migrate-set-capabilities", "migrate-set-parameters"]);
  expect(told.at(-1)).toBe("migrate-incoming");
});
