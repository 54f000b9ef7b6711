/** The keys and the VMs that the program has in memory are in no core dump. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtBinary, runMigrate } from "../support/system/process.ts";

/** Whom a system has for what needs no rights. */
const nobody = 65_534;
const isRoot = process.geteuid?.() === 0;
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-core-"));
  for (const name of ["home", "store"]) mkdirSync(join(root, name), { mode: 0o700 });
  if (!isRoot) return;
  for (const name of ["", "home", "store"]) chownSync(join(root, name), nobody, nobody);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("the program may not dump core, as an ordinary user neither", async () => {
  const as = isRoot ? ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"] : [];
  const serve = runMigrate(["serve", "--store", join(root, "store"), "--listen", "127.0.0.1:0", "--json"], {
    binary: [...as, builtBinary],
    home: join(root, "home"),
    env: { BUN_TMPDIR: root },
  });
  try {
    await serve.waitFor("listening");
    const limits = readFileSync(`/proc/${serve.pid}/limits`, "utf8");
    expect(limits).toMatch(/^Max core file size +0 +0 /m);
    // proc(5): the files of a process that may not be dumped are root's.
    expect(statSync(`/proc/${serve.pid}/status`).uid).toBe(0);
    expect(readFileSync(`/proc/${serve.pid}/status`, "utf8")).toMatch(
      new RegExp(`^Uid:\\t${isRoot ? nobody : process.geteuid?.()}`, "m"),
    );
  } finally {
    expect(await serve.kill("SIGTERM")).toMatchObject({ code: 0 });
  }
});
