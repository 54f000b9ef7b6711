/** The tests' own eyes: what they see of a running program. */
import { afterEach, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import { killChildren, startChild } from "./child.ts";
import { type MigrateProcess, runMigrate } from "./process.ts";
import { mountsOf } from "./process-rights.ts";
import { until } from "./until.ts";

afterEach(killChildren);

/** A stand-in for the binary: a script that sees the arguments and the environment. */
function runScript(script: string, env: Record<string, string | undefined> = {}): MigrateProcess {
  return runMigrate([], { home: "/nowhere", binary: [process.execPath, "-e", script], env });
}

test("events are found by name whether they came before the question or after it", async () => {
  const program = runScript(`
    console.log('{"event":"warning","message":"one"}\\n{"event":"warning","message":"two"}');
    process.stdout.write('{"event":"noti');
    setImmediate(() => process.stdout.write('ce","message":"three"}\\n'));
  `);
  expect(await program.waitFor("notice")).toEqual({ event: "notice", message: "three" });
  const second = await program.waitFor("warning", { where: ({ message }) => message === "two" });
  expect(second.message).toBe("two");
  expect(await program.exit).toEqual({ code: 0, signal: null });
  expect(program.events.map(({ event }) => event)).toEqual(["warning", "warning", "notice"]);
  expect(program.strayLines).toEqual([]);
});

test("a program that ends without the event fails the wait, with what it wrote", async () => {
  const program = runScript(`
    console.error("the reason"); console.log("not JSON"); console.log('{"event":"error","code":"io"}'); process.exit(5);
  `);
  const failure = program.waitFor("done");
  await expect(failure).rejects.toThrow(/ended without the event done.*"code":"io".*not JSON.*the reason/s);
  expect(await program.exit).toEqual({ code: 5, signal: null });
  expect(program.strayLines).toEqual(["not JSON"]);
  // And it fails at once when it is asked after the end.
  await expect(program.waitFor("done")).rejects.toThrow("ended without the event done");
});

test("a deadline that passes fails the wait, and a kill is seen as a signal", async () => {
  const program = runScript(`
    for (const end = Date.now() + 60; Date.now() < end; );
    console.log('{"event":"notice","message":"up"}'); setInterval(() => {}, 1000);
  `);
  await program.waitFor("notice");
  await expect(program.waitFor("done", { deadlineMs: 1 })).rejects.toThrow(/not within 1 ms: the event done/);
  expect(await program.kill("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  const { userMs, systemMs } = program.cpuMs()!;
  expect(userMs + systemMs).toBeGreaterThan(20);
});

test("the program has its own home, and nothing in the environment that changes how it runs", async () => {
  process.env.BUN_OPTIONS = "--smol";
  try {
    const program = runScript(
      `const { MIGRATE_HOME, BUN_OPTIONS, MORE } = process.env;
       console.log(JSON.stringify({ event: "environment", MIGRATE_HOME, BUN_OPTIONS, MORE }));`,
      { MORE: "yes" },
    );
    expect(await program.waitFor("environment")).toEqual({
      event: "environment",
      MIGRATE_HOME: "/nowhere",
      MORE: "yes",
    });
  } finally {
    delete process.env.BUN_OPTIONS;
  }
});

test("a process whose first thread alone has ended is still in its namespace, as it still holds its locks", async () => {
  // SYS_exit (60 on x86-64, 93 elsewhere) ends one thread; those of the garbage collector go on.
  const number = process.arch === "x64" ? 60 : 93;
  const child = startChild([
    process.execPath,
    "-e",
    `const { dlopen } = require("bun:ffi");
     const libc = dlopen("libc.so.6", { syscall: { args: ["i64", "i64"], returns: "i64" } });
     setTimeout(() => libc.symbols.syscall(${number}, 0), 10);`,
  ]);
  const state = () => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${child.pid}/status`, "latin1"))?.[1];
  await until(() => state() === "Z", "the end of its first thread");
  expect(() => readlinkSync(`/proc/${child.pid}/ns/mnt`)).toThrow();
  expect(mountsOf(child.pid)).toBe(readlinkSync("/proc/self/ns/mnt"));
  await child.kill();
  expect(mountsOf(child.pid)).toBeUndefined();
});
