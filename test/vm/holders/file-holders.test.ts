import { describe, expect, test } from "bun:test";
import { closeSync, linkSync, openSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { requireUnheld } from "../../../src/vm/holders/file-holders.ts";
import { vmPart } from "../../support/files/vm-part.ts";
import { type Child, startChild } from "../../support/system/child.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

let disk = "";

eachTestInFolder("migrate-holders-", (folder) => {
  disk = join(folder, "d.raw");
  writeFileSync(disk, "x".repeat(5000));
  truncateSync(disk, 2 ** 20);
});

/** Another program, once it has said so; `code` has the file's path as `path`. */
async function program(code: string): Promise<Child> {
  const script = `import { openSync, closeSync } from "node:fs"; const path = process.env.FILE;\n${code}\nconsole.log("ready"); setInterval(() => {}, 1e6);`;
  const child = startChild([process.execPath, "-e", script], { env: { ...process.env, FILE: disk } });
  await until(() => child.stdout().includes("ready"), "the other program");
  return child;
}

const refusal = (parts = [vmPart(disk)], own: number[] = []) => refusalOf(() => requireUnheld(parts, own));

describe("a file of a VM", () => {
  test("that nobody else uses may leave", () => {
    expect(requireUnheld([vmPart(disk)], [])).toBeNull();
  });

  test("that a program only reads may leave", async () => {
    await program(`openSync(path, "r")`);
    expect(requireUnheld([vmPart(disk)], [])).toBeNull();
  });

  test("that a program has open for writing may not: the program is named, whether or not the VM runs", async () => {
    const { pid } = await program(`openSync(path, "r+")`);
    const words = {
      code: "vm-busy",
      exitCode: 6,
      message: expect.stringMatching(new RegExp(`^d.raw is open for writing by .*\\(process ${pid}\\)$`)),
    };
    expect(refusal()).toMatchObject(words);
    expect(refusal([vmPart(disk)], [1])).toMatchObject(words);
    expect(refusal([vmPart(disk, false)])).toMatchObject(words);
  });

  test("that a program has mapped, its descriptor closed, may not", async () => {
    const { pid } = await program(
      `const { dlopen } = await import("bun:ffi"); const fd = openSync(path, "r+");
       const c = dlopen("libc.so.6", { mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" } });
       if (Number(c.symbols.mmap(null, 4096, 3, 1, fd, 0)) <= 0) throw new Error("no mapping");
       closeSync(fd);`,
    );
    for (const own of [[], [1]]) {
      expect(refusal([vmPart(disk)], own)).toMatchObject({
        code: "vm-busy",
        message: expect.stringMatching(
          new RegExp(`d.raw is open for writing by .*\\(process ${pid}\\), which has it mapped$`),
        ),
      });
    }
  });

  test("that this very process has open elsewhere for writing may not", () => {
    const fd = openSync(disk, "r+");
    const error = refusal();
    closeSync(fd);
    expect(error).toMatchObject({
      code: "vm-busy",
      message: expect.stringContaining(`(process ${process.pid})`),
    });
  });

  test("that has a second name may not leave, and may be copied", () => {
    linkSync(disk, `${disk}.second`);
    expect(refusal()).toMatchObject({
      code: "vm-invalid",
      message: "d.raw has 2 names (hard links), and is one file",
    });
    expect(requireUnheld([vmPart(disk, false)], [])).toBeNull();
  });
});
