import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { SystemError } from "../../src/platform/libc.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-libc-", (made) => {
  folder = made;
});

test("an error carries the names that node:fs uses", () => {
  expect(new SystemError("write", 28)).toMatchObject({ code: "ENOSPC", errno: 28, message: "ENOSPC: write" });
  expect(new SystemError("flock", 11).code).toBe("EAGAIN");
  expect(new SystemError("fallocate", 95).code).toBe("EOPNOTSUPP");
  expect(new SystemError("call", 4095).code).toBe("errno 4095");
});

test("a libc.so.6 that lies in the working directory is not the one that is opened", async () => {
  for (const name of ["libc.so.6", "libc.musl-x86_64.so.1", "libc.so"]) {
    writeFileSync(join(folder, name), "not a library");
  }
  const holes = resolve(import.meta.dir, "../../src/platform/files/holes.ts");
  const child = Bun.spawn(
    [
      process.execPath,
      "-e",
      `import { nextData } from ${JSON.stringify(holes)}; console.log(nextData(0, 0))`,
    ],
    { cwd: folder, stdin: Bun.file("/dev/null"), stdout: "pipe", stderr: "pipe" },
  );
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect({ out, err }).toEqual({ out: expect.stringMatching(/^(null|0)\n$/), err: "" });
});
