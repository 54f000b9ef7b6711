import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processId } from "../../../src/platform/process-id.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { keepRunFolders, runKeeps } from "../../../src/vm/qemu/run-upkeep.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "mr-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const nobody = { pid: 2 ** 22 + 1, startTicks: 1 };
const none = () => false;

/** A run folder whose processes are these; it was changed so long ago. */
function make(name: string, { qemu = nobody, session = name, ageMs = 0 } = {}): RunFolder {
  const folder = RunFolder.at(home, name);
  folder.make(session);
  folder.note("qemu", qemu);
  const at = (Date.now() - ageMs) / 1000;
  utimesSync(folder.path, at, at);
  return folder;
}

const isThere = (folder: RunFolder) => existsSync(folder.path);

test("a log that a guest fills gives back its beginning, and loses nothing of its end", () => {
  const { path } = make("web1", { qemu: processId(process.pid)! });
  const log = join(path, "serial.log");
  const small = join(path, "small.log");
  writeFileSync(small, "a short log");
  const fd = openSync(log, "w");
  let lines = 0;
  try {
    for (let mebibytes = 0; mebibytes < 40; mebibytes += 1) {
      const text = Array.from({ length: 32_768 }, () => `line ${String(lines++).padStart(26, "0")}\n`).join(
        "",
      );
      writeSync(fd, text);
      keepRunFolders(home, none, Date.now());
      expect(statSync(log).blocks * 512).toBeLessThanOrEqual(runKeeps.logBytes + 1024 * 1024);
    }
  } finally {
    closeSync(fd);
  }
  const tail = readFileSync(log).subarray(-runKeeps.logTailBytes).toString().split("\n").slice(1, -1);
  expect(tail.at(-1)).toBe(`line ${String(lines - 1).padStart(26, "0")}`);
  expect(tail.every((line) => line.startsWith("line "))).toBe(true);
  expect(readFileSync(small, "utf8")).toBe("a short log");
});

test("a link in the place of a log is not followed", () => {
  const { path } = make("web1", { qemu: processId(process.pid)! });
  const outside = join(home, "outside");
  writeFileSync(outside, Buffer.alloc(2 * runKeeps.logBytes, 1));
  symlinkSync(outside, join(path, "serial.log"));
  keepRunFolders(home, none, Date.now());
  expect(readFileSync(outside).includes(0)).toBe(false);
});

test("of the folders of VMs that have ended the newest stay, for a week", () => {
  const folders = Array.from({ length: 67 }, (_, i) => make(`vm${i}`, { ageMs: i * 60_000 }));
  keepRunFolders(home, none, Date.now());
  expect(folders.map(isThere)).toEqual(folders.map((_, i) => i < runKeeps.deadFolders));
  keepRunFolders(home, none, Date.now() + runKeeps.deadMs);
  expect(folders.some(isThere)).toBe(false);
});

test("nothing goes of a VM that runs, or whose session is open, or of which nothing can be read", () => {
  const old = { ageMs: 10 * runKeeps.deadMs };
  const running = make("running", { ...old, qemu: processId(process.pid)! });
  const open = make("open", { ...old, session: "open" });
  const damaged = make("damaged", old);
  writeFileSync(join(damaged.path, "processes.json"), "{");
  const foreign = join(home, "run", "foreign");
  mkdirSync(foreign);
  const made = RunFolder.at(home, "made");
  made.make("made");
  keepRunFolders(home, (session) => session === "open", Date.now());
  expect([running, open, damaged, made].map(isThere)).toEqual([true, true, true, true]);
  expect(existsSync(foreign)).toBe(true);
});
