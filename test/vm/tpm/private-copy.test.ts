/** Private copies of TPM states: in memory alone, and nothing of a process that was killed is left. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ekOfState } from "../../../src/vm/tpm/ek-of-state.ts";
import { memoryFolder, newPrivateCopy, sweepPrivateCopies } from "../../../src/vm/tpm/private-copy.ts";

const TMPFS_MAGIC = 0x01021994;
const dayMs = 24 * 3_600_000;
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "private-copy-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A process that makes a copy below `root` and is killed before it takes it away; the copy's folder. */
async function killedOver(place: string): Promise<string> {
  const code = `import { newPrivateCopy } from ${JSON.stringify(join(import.meta.dir, "../../../src/vm/tpm/private-copy.ts"))};
    import { writeFileSync } from "node:fs";
    const { folder, state } = newPrivateCopy(${JSON.stringify(place)});
    writeFileSync(state + "/tpm2-00.permall", "secret seeds");
    process.stdout.write(folder + "\\n");
    setInterval(() => {}, 1000);`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  const { value } = await child.stdout.getReader().read();
  const folder = Buffer.from(value!).toString().trim();
  // It lives: nothing of it is touched.
  await sweepPrivateCopies([place]);
  expect(readFileSync(join(folder, "state/tpm2-00.permall"), "utf8")).toBe("secret seeds");
  child.kill("SIGKILL");
  await child.exited;
  return folder;
}

test("the copy of a process that was killed is overwritten and taken away by whoever comes next, that of one that lives is not", async () => {
  const folder = await killedOver(root);
  const own = newPrivateCopy(root);
  writeFileSync(join(own.state, "tpm2-00.permall"), "in use");
  // As swtpm calls what it is about to rename.
  writeFileSync(join(folder, "state/TMP-00.permall"), "secret seeds");
  if (process.geteuid?.() === 0) chownSync(join(folder, "state"), 1_900_000_001, 1_900_000_001);
  const open = ["tpm2-00.permall", "TMP-00.permall"].map((name) =>
    openSync(join(folder, "state", name), "r"),
  );
  try {
    await sweepPrivateCopies([root]);
    expect(open.map((fd) => readFileSync(`/proc/self/fd/${fd}`, "latin1"))).toEqual([
      "\0".repeat(12),
      "\0".repeat(12),
    ]);
  } finally {
    for (const fd of open) closeSync(fd);
  }
  expect([existsSync(folder), readFileSync(join(own.state, "tpm2-00.permall"), "utf8")]).toEqual([
    false,
    "in use",
  ]);
});

test("no link is followed, and another user's folder is left alone", async () => {
  const folder = await killedOver(root);
  const theirs = join(root, "theirs");
  mkdirSync(theirs);
  writeFileSync(join(theirs, "tpm2-00.permall"), "theirs");
  rmSync(join(folder, "state"), { recursive: true });
  symlinkSync(theirs, join(folder, "state"));
  symlinkSync(join(theirs, "tpm2-00.permall"), join(folder, "tpm2-00.permall"));
  const link = folder.replace(/.{6}$/, "AAAAAA");
  symlinkSync(theirs, link);
  await sweepPrivateCopies([root]);
  expect(readFileSync(join(theirs, "tpm2-00.permall"), "utf8")).toBe("theirs");
  expect([existsSync(folder), existsSync(link)]).toEqual([false, true]);
  if (process.geteuid?.() !== 0) return;
  rmSync(link);
  renameSync(theirs, link);
  chownSync(link, 65_534, 65_534);
  await sweepPrivateCopies([root]);
  expect(readFileSync(join(link, "tpm2-00.permall"), "utf8")).toBe("theirs");
});

test("what bears no process's name, or one of another namespace, goes once it is a day old", async () => {
  const folder = await killedOver(root);
  const elsewhere = folder.replace(/-\d+-(.{6})$/, "-1-$1");
  renameSync(folder, elsewhere);
  const earlier = join(root, "migrate-ek-Ab12Cd");
  mkdirSync(earlier);
  writeFileSync(join(earlier, "tpm2-00.permall"), "secret seeds");
  const other = join(root, "migrate-ek-of-somebody");
  mkdirSync(other);
  await sweepPrivateCopies([root]);
  expect(readdirSync(root)).toHaveLength(3);
  await sweepPrivateCopies([root], Date.now() + dayMs + 60_000);
  expect(readdirSync(root)).toEqual(["migrate-ek-of-somebody"]);
});

test("only a file system in memory is taken; without one nothing is copied, and the answer is that it is not known", async () => {
  const isDisk = statfsSync(root).type !== TMPFS_MAGIC;
  expect(memoryFolder([join(root, "none"), root])).toBe(isDisk ? null : root);
  expect(memoryFolder(["/proc", "/sys"])).toBeNull();
  if (Bun.which("swtpm") === null) return;
  const found = await ekOfState(Buffer.alloc(5000, 1 & 0xfe), { memory: null });
  expect(found).toEqual({ unknown: "there is no folder in memory here for a copy of its state" });
});
