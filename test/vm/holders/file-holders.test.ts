import { describe, expect, test } from "bun:test";
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { requireUnheld, type VmPart } from "../../../src/vm/holders/file-holders.ts";
import { nameIn } from "../../../src/vm/holders/vm-name.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

let disk = "";
const closers: (() => unknown)[] = [];

eachTestInFolder("migrate-holders-", (folder) => {
  disk = join(folder, "d.raw");
  writeFileSync(disk, "x".repeat(5000));
  truncateSync(disk, 2 ** 20);
  return async () => {
    for (const close of closers.splice(0)) await close();
  };
});

function part(path = disk, leaves = true): VmPart {
  const { dev, ino } = statSync(path, { bigint: true });
  return { path, base: basename(path), dev, ino, leaves };
}

/** Another program, once it has said so; `code` has the file's path as `path`. */
async function program(code: string): Promise<Child> {
  const script = `import { openSync, closeSync } from "node:fs"; const path = process.env.FILE;\n${code}\nconsole.log("ready"); setInterval(() => {}, 1e6);`;
  const child = startChild([process.execPath, "-e", script], { env: { ...process.env, FILE: disk } });
  await until(() => child.stdout().includes("ready"), "the other program");
  return child;
}

/** A QEMU that has the disk as a VM named web2 would. */
async function otherVm(options: string): Promise<Child> {
  const child = startChild([
    ...["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-S"],
    ...["-name", "guest=web2,debug-threads=on", "-blockdev"],
    `driver=file,node-name=f,filename=${disk},${options}`,
  ]);
  await until(() => child.stderr() !== "" || hasOpen(child.pid, disk), "the other VM");
  return child;
}

function hasOpen(pid: number, path: string): boolean {
  const names = readdirSync(`/proc/${pid}/fd`);
  return names.some(
    (name) => statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false })?.ino === statSync(path).ino,
  );
}

/** A loop device on the disk. */
async function loop(...flags: string[]): Promise<string> {
  const device = (await runChild(["losetup", ...flags, "--find", "--show", disk])).trim();
  closers.push(() => runChild(["losetup", "-d", device]));
  return device;
}

const refusal = (parts = [part()], own: number[] = []) => refusalOf(() => requireUnheld(parts, own));

describe("a file of a VM", () => {
  test("that nobody else uses may leave, with its own QEMU or without", async () => {
    expect(requireUnheld([part()], [])).toBeNull();
    const { pid } = await otherVm("locking=off");
    expect(requireUnheld([part()], [pid])).toBeNull();
  });

  test("that a program only reads may leave", async () => {
    await program(`openSync(path, "r")`);
    expect(requireUnheld([part()], [])).toBeNull();
  });

  test("that a program has open for writing may not: the program is named, whether or not the VM runs", async () => {
    const { pid } = await program(`openSync(path, "r+")`);
    const words = {
      code: "vm-busy",
      exitCode: 2,
      message: expect.stringMatching(new RegExp(`^d.raw is open for writing by .*\\(process ${pid}\\)$`)),
    };
    expect(refusal()).toMatchObject(words);
    expect(refusal([part()], [1])).toMatchObject(words);
    expect(refusal([part(disk, false)])).toMatchObject(words);
  });

  test("that a program has mapped, its descriptor closed, may not", async () => {
    const { pid } = await program(
      `const { dlopen } = await import("bun:ffi"); const fd = openSync(path, "r+");
       const c = dlopen("libc.so.6", { mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" } });
       if (Number(c.symbols.mmap(null, 4096, 3, 1, fd, 0)) <= 0) throw new Error("no mapping");
       closeSync(fd);`,
    );
    for (const own of [[], [1]]) {
      expect(refusal([part()], own)).toMatchObject({
        code: "vm-busy",
        message: expect.stringMatching(
          new RegExp(`d.raw is open for writing by .*\\(process ${pid}\\), which has it mapped$`),
        ),
      });
    }
  });

  test("that this very process has open elsewhere for writing may not", () => {
    const fd = openSync(disk, "r+");
    closers.push(() => closeSync(fd));
    expect(refusal()).toMatchObject({
      code: "vm-busy",
      message: expect.stringContaining(`(process ${process.pid})`),
    });
  });

  test("that another VM has may not, even if that one takes no locks, or only reads", async () => {
    for (const options of ["locking=off", "read-only=on"]) {
      const other = await otherVm(options);
      expect(refusal()).toMatchObject({
        code: "vm-running",
        exitCode: 2,
        message: expect.stringMatching(
          new RegExp(`by the VM web2 \\(qemu-system-x86_64, process ${other.pid}\\)$`),
        ),
      });
      await other.kill("SIGTERM");
    }
  });

  test("from which it was only started, such as a kernel, others may read as well", async () => {
    await otherVm("read-only=on");
    await loop("--read-only");
    expect(requireUnheld([part(disk, false)], [])).toBeNull();
  });

  test("that is behind a loop device may not: the device and where it is mounted are named", async () => {
    await runChild(["mkfs.ext4", "-q", disk]);
    const device = await loop();
    const folder = `${disk}-mounted`;
    mkdirSync(folder);
    await runChild(["mount", device, folder]);
    closers.unshift(() => runChild(["umount", folder]));
    expect(refusal()).toMatchObject({
      code: "vm-running",
      message: `d.raw is open for writing by the loop device ${device}, mounted on ${folder}`,
    });
  });

  test("that is behind a loop device for reading may not leave", async () => {
    const device = await loop("--read-only");
    expect(refusal()).toMatchObject({ message: `d.raw is in use by the loop device ${device}` });
  });

  test("that has a second name may not leave, and may be copied", () => {
    linkSync(disk, `${disk}.second`);
    expect(refusal()).toMatchObject({
      code: "vm-invalid",
      message: "d.raw has 2 names (hard links), and is one file",
    });
    expect(requireUnheld([part(disk, false)], [])).toBeNull();
  });
});

test("the name of a VM is found in -name", () => {
  expect(nameIn(["q", "-name", "web1"])).toBe("web1");
  expect(nameIn(["q", "-name", "guest=a,,b,debug-threads=on"])).toBe("a,b");
  expect(nameIn(["q", "-name", "debug-threads=on"])).toBeNull();
  expect(nameIn(["q", "-m", "1"])).toBeNull();
});
