/** A program that `migrate confined` becomes, as any user: what it has of whoever started it, and what it reaches. */
import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { landlockVersion } from "../../../src/platform/confine/landlock.ts";
import type { Plan } from "../../../src/vm/confinement/plan.ts";
import { builtBinary } from "../../support/system/process.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let made: string;
eachTestInFolder("confined-", (folder) => {
  made = folder;
});
/** A new, empty one. */
const folder = () => mkdtempSync(join(made, "f-"));

/** Starts a shell line, confined, with more in its environment than it is to have. */
function run(line: string, change: Partial<Plan> = {}) {
  const plan: Plan = {
    ...{ user: null, view: false, network: "none", landlock: true, files: [], cgroups: [], kept: [] },
    ...{ descriptors: 100, cwd: "/", ...change },
  };
  const child = Bun.spawnSync([builtBinary, "confined", JSON.stringify(plan), "--", "/bin/sh", "-c", line], {
    env: { PATH: "/bin", SECRET: "1", LD_LIBRARY_PATH: "/tmp" },
    stdin: "ignore",
  });
  return { code: child.exitCode, out: child.stdout.toString().trim(), err: child.stderr.toString() };
}

test("what it makes is its own alone", () => {
  const at = folder();
  run("echo x > made", { cwd: at, files: [{ path: at, right: "own" }] });
  expect(statSync(join(at, "made")).mode & 0o777).toBe(0o600);
});

test("its environment, limits and descriptors are its own, and no signal is ignored or held back", () => {
  const proc = [{ path: "/proc", right: "read" } as const];
  expect(
    run("env", {})
      .out.split("\n")
      .map((line) => line.split("=")[0])
      .sort(),
  ).toEqual(["LANG", "PATH", "PWD"]);
  expect(run("ulimit -c; ulimit -n").out).toBe("0\n100");
  expect(run("echo /proc/self/fd/*", { files: proc }).out.split(" ").length).toBeLessThan(5);
  const status = run("cat /proc/self/status", { files: proc }).out;
  for (const line of ["NoNewPrivs:\t1", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]) {
    expect(status).toContain(line);
  }
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) {
    expect(status).toContain(`${set}:\t0000000000000000`);
  }
});

test("with Landlock it reaches the files that it is given, by the rights that it is given, and no others", () => {
  // A kernel without it has nothing to show here; what serve then says is in confined-user.test.ts.
  expect(landlockVersion()).toBeGreaterThan(0);
  const at = folder();
  for (const name of ["own", "read"]) mkdirSync(join(at, name));
  for (const name of ["own/file", "read/file", "other"]) writeFileSync(join(at, name), "here");
  const files: Plan["files"] = [
    { path: join(at, "own"), right: "own" },
    { path: join(at, "read"), right: "read" },
    { path: join(at, "none"), right: "read" },
  ];
  const tried = (line: string) => run(`cd ${at}; ${line}`, { files }).code;
  expect(tried("cat own/file read/file")).toBe(0);
  expect(tried("echo x > own/file && echo x > own/made && rm own/made")).toBe(0);
  expect(readFileSync(join(at, "own/file"), "utf8")).toBe("x\n");
  for (const line of [
    "cat other",
    "echo x > other",
    "echo x > read/file",
    "echo x > read/made",
    "ls ..",
    "cat /etc/passwd",
  ]) {
    expect(tried(line), line).not.toBe(0);
  }
  expect([readFileSync(join(at, "other"), "utf8"), existsSync(join(at, "read/made"))]).toEqual([
    "here",
    false,
  ]);
  expect(tried(`kill -0 ${process.pid}`), "a signal to others").not.toBe(0);
});

test("a program in a folder of its own finds what was installed with it", () => {
  const at = folder();
  for (const name of ["opt/bin", "opt/share", "links"]) mkdirSync(join(at, name), { recursive: true });
  writeFileSync(join(at, "opt/share/data"), "found");
  writeFileSync(join(at, "opt/bin/tool"), `#!/bin/sh\ncat ${at}/opt/share/data\n`, { mode: 0o755 });
  symlinkSync(join(at, "opt/bin/tool"), join(at, "links/tool"));
  const plan = { user: null, view: false, network: "none", landlock: true, files: [], cgroups: [], kept: [] };
  const words = [builtBinary, "confined", JSON.stringify({ ...plan, descriptors: 100, cwd: "/" }), "--"];
  for (const tool of ["opt/bin/tool", "links/tool"]) {
    expect(Bun.spawnSync([...words, join(at, tool)]).stdout.toString(), tool).toBe("found");
  }
});

test("what cannot be had ends it, with a sentence, before the program begins", () => {
  const { code, err, out } = run("echo began", { cgroups: ["/nowhere/cgroup.procs"] });
  expect([code, out]).toEqual([6, ""]);
  expect(err).toContain("what runs the VM cannot be confined");
  expect(run("echo began", { cwd: "/nowhere" }).out).toBe("");
});
