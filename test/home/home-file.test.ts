import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import {
  createHomeFile,
  homeFileMaxBytes,
  isLeftover,
  readHomeFile,
  replaceHomeFile,
  withHomeLock,
} from "../../src/home/home-file.ts";
import { codeOf } from "../support/system/refusals.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let folder: string;
let path: string;
eachTestInFolder("migrate-file-", (made) => {
  folder = made;
  path = join(folder, "file");
});

describe("a file in the home", () => {
  test("is made once, closed to others, with nothing left beside it", () => {
    expect(createHomeFile(path, "first")).toBe(true);
    expect(createHomeFile(path, "second")).toBe(false);
    expect(readHomeFile(path, 0o077)).toBe("first");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("is replaced whole, and closed to others whatever it was", () => {
    writeFileSync(path, "a long old text", { mode: 0o644 });
    replaceHomeFile(path, "new");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("that is absent reads as null", () => expect(readHomeFile(path, 0o077)).toBeNull());

  const makeFile = (at: string, mode = 0o600) => {
    writeFileSync(at, "");
    chmodSync(at, mode);
    return at;
  };
  for (const [what, prepare] of [
    ["readable by others", () => makeFile(path, 0o640)],
    ["a symbolic link", () => symlinkSync(makeFile(`${path}.real`), path)],
    ["a folder", () => mkdirSync(path, { mode: 0o700 })],
    ["a FIFO", () => Bun.spawnSync(["mkfifo", "-m", "600", path])],
    ["too long", () => truncateSync(makeFile(path), homeFileMaxBytes + 1)],
  ] as const) {
    test(`is not read when it is ${what}`, () => {
      prepare();
      expect(existsSync(path)).toBe(true);
      expect(codeOf(() => readHomeFile(path, 0o077))).toBe("home-unusable");
    });
  }

  test("may be readable by others where that is allowed, but not writable", () => {
    writeFileSync(path, "text");
    chmodSync(path, 0o644);
    expect(readHomeFile(path, 0o022)).toBe("text");
    chmodSync(path, 0o664);
    expect(codeOf(() => readHomeFile(path, 0o022))).toBe("home-unusable");
  });

  test("cannot be written where there is no folder, and says so", () => {
    expect(codeOf(() => createHomeFile(join(folder, "none/file"), ""))).toBe("home-unusable");
    expect(codeOf(() => replaceHomeFile(join(folder, "none/file"), ""))).toBe("home-unusable");
  });

  test("that cannot get its name leaves no temporary file", () => {
    mkdirSync(path);
    expect(codeOf(() => replaceHomeFile(path, "secret"))).toBe("home-unusable");
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("knows its leftovers from other files", () => {
    expect(isLeftover(path, ".file.123.abc.tmp")).toBe(true);
    expect(isLeftover(path, "file")).toBe(false);
    expect(isLeftover(path, ".other.123.abc.tmp")).toBe(false);
  });
});

describe("the lock", () => {
  test("lets one task in at a time", async () => {
    writeFileSync(path, "0");
    const count = () => {
      writeFileSync(path, String(Number(readFileSync(path, "utf8")) + 1));
    };
    await Promise.all(Array.from({ length: 20 }, () => withHomeLock(`${path}.lock`, count)));
    expect(readFileSync(path, "utf8")).toBe("20");
  });

  test("is let go when the work throws", async () => {
    const fail = () => {
      throw new Error("work failed");
    };
    await expect(withHomeLock(`${path}.lock`, fail)).rejects.toThrow("work failed");
    expect(await withHomeLock(`${path}.lock`, () => "in")).toBe("in");
  });

  test("keeps processes apart", async () => {
    writeFileSync(path, "0");
    const module = JSON.stringify(resolve(import.meta.dir, "../../src/home/home-file.ts"));
    const script = `
      import { readFileSync, writeFileSync } from "node:fs";
      import { withHomeLock } from ${module};
      const path = ${JSON.stringify(path)};
      for (let turn = 0; turn < 25; turn++) await withHomeLock(path + ".lock", () => {
        const before = Number(readFileSync(path, "utf8"));
        Bun.sleepSync(1);
        writeFileSync(path, String(before + 1));
      });`;
    const children = [1, 2, 3].map(() => Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" }));
    expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0]);
    expect(readFileSync(path, "utf8")).toBe("75");
  });

  test("of a process that was killed is free at once", async () => {
    const module = JSON.stringify(resolve(import.meta.dir, "../../src/home/home-file.ts"));
    const script = `
      import { withHomeLock } from ${module};
      await withHomeLock(${JSON.stringify(`${path}.lock`)}, () => {
        process.stdout.write("held");
        Bun.sleepSync(60_000);
      });`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    for await (const _ of child.stdout) break;
    child.kill("SIGKILL");
    await child.exited;
    expect(await withHomeLock(`${path}.lock`, () => "in")).toBe("in");
  });

  test("that cannot be opened is an error that names it", async () => {
    const refused = withHomeLock(join(folder, "none/file.lock"), () => "in");
    await expect(refused).rejects.toMatchObject({ code: "home-unusable" });
  });
});
