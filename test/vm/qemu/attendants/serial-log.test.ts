/** What a line said is in two files of bounded size, whole at its end, whatever pieces it came in. */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SerialLog, serialTail } from "../../../../src/vm/qemu/attendants/serial-log.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

let folder: string;
let path: string;
eachTestInFolder("serial-", (made) => {
  folder = made;
  path = join(folder, "a.log");
});

test("the last bytes are there across both files, and no file grows beyond its bound", () => {
  const log = new SerialLog(path, { fileBytes: 100 });
  let said = "";
  for (let n = 0; n < 400; n++) {
    const piece = `${n}:${"x".repeat(n % 37)}\n`;
    said += piece;
    log.append(Buffer.from(piece));
    expect(serialTail(path, 100).toString()).toBe(said.slice(-100));
  }
  log.append(Buffer.from("y".repeat(1000)));
  expect(serialTail(path, 100).toString()).toBe("y".repeat(100));
  log.close();
  expect(readdirSync(folder).sort()).toEqual(["a.log", "a.log.1"]);
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(100);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("one that is there is gone on with", () => {
  for (const text of ["one ", "two "]) {
    const log = new SerialLog(path, { fileBytes: 100 });
    log.append(Buffer.from(text));
    log.close();
  }
  expect(serialTail(path).toString()).toBe("one two ");
  expect(serialTail(path, 3).toString()).toBe("wo ");
});

test("what is no plain file is no log: a link, a folder, nothing", () => {
  expect(serialTail(path).length).toBe(0);
  writeFileSync(join(folder, "secret"), "root's own");
  symlinkSync(join(folder, "secret"), path);
  expect(serialTail(path).length).toBe(0);
  expect(() => new SerialLog(path)).toThrow("ELOOP");
  mkdirSync(join(folder, "b.log"));
  expect(serialTail(join(folder, "b.log")).length).toBe(0);
});

test("a line whose log cannot turn goes on without it", () => {
  const log = new SerialLog(path, { fileBytes: 10 });
  mkdirSync(`${path}.1`);
  writeFileSync(join(`${path}.1`, "x"), "");
  log.append(Buffer.from("0123456789ab"));
  expect(serialTail(path).toString()).toBe("0123456789");
  log.close();
});
