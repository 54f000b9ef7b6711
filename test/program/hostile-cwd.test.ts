import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtBinary } from "../support/system/process.ts";

/** A folder as an attacker would leave it for whoever runs `migrate` in it. */
let folder = "";
let home = "";

/** A user that owns nothing, where the tests are root's: root's home is not where .env could lead it. */
const nobody = 65534;

beforeEach(() => {
  const base = mkdtempSync(join(tmpdir(), "migrate-hostile-"));
  folder = join(base, "hostile");
  home = join(base, "home");
  // Where the traps leave their traces; the user that they would run as can write there.
  const open = join(base, "open");
  const trap = `require("node:fs").writeFileSync(${JSON.stringify(join(open, "sprung"))}, "");`;
  mkdirSync(join(folder, "node_modules", "citty"), { recursive: true });
  mkdirSync(home);
  mkdirSync(open);
  for (const [path, text] of [
    ["preload.ts", `${trap}\nconsole.log("preloaded");`],
    ["bunfig.toml", 'preload = ["./preload.ts"]\n[run]\npreload = ["./preload.ts"]\n'],
    [".env", `MIGRATE_HOME=${join(open, "stolen")}\nNODE_TLS_REJECT_UNAUTHORIZED=0\nMIGRATE_DEBUG=1\n`],
    [".env.local", `MIGRATE_HOME=${join(open, "stolen")}\n`],
    [".env.production", `MIGRATE_HOME=${join(open, "stolen")}\n`],
    ["tsconfig.json", '{ "compilerOptions": { "paths": { "citty": ["./preload.ts"] } } }'],
    ["package.json", '{ "name": "x", "imports": { "#x": "./preload.ts" } }'],
    ["node_modules/citty/package.json", '{ "name": "citty", "main": "index.js" }'],
    ["node_modules/citty/index.js", trap],
  ] as const)
    writeFileSync(join(folder, path), text);
  chmodSync(base, 0o755);
  chmodSync(open, 0o777);
  if (process.getuid?.() === 0) chownSync(home, nobody, nobody);
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true, force: true }));

/** Runs a link to the binary in the hostile folder, as an ordinary user with nothing but HOME in the environment. */
const run = (...words: string[]) => runBehind([], {}, words);

/** The same with more in the environment; `before` is what starts the binary. */
async function runBehind(before: readonly string[], more: Record<string, string>, words: readonly string[]) {
  const binary = join(folder, "..", "migrate");
  if (!existsSync(binary)) placeBinary(binary);
  const user =
    process.getuid?.() === 0 ? ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"] : [];
  const child = Bun.spawn([...user, ...before, binary, ...words], {
    cwd: folder,
    env: { PATH: "/usr/bin:/bin", HOME: home, ...more },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { stdout, stderr, code: await child.exited };
}

/** Where any user can run it: the repository may lie in a folder that is closed to others. */
function placeBinary(path: string): void {
  try {
    linkSync(builtBinary, path);
  } catch {
    copyFileSync(builtBinary, path);
  }
}

test("a hostile folder changes nothing of --version", async () => {
  const { stdout, stderr, code } = await run("--version");
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^migrate \d+\.\d+\.\d+ \(.+\)\n$/);
  expect(code).toBe(0);
  expect(existsSync(join(folder, "..", "open", "sprung"))).toBe(false);
});

test("a hostile folder does not lead the program to another home, nor run anything of its own", async () => {
  const { stdout, stderr, code } = await run("id", "--json");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.trimEnd().split("\n").length).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ event: "id", home: join(home, ".local", "state", "migrate") });
  expect(readdirSync(join(folder, "..", "open"))).toEqual([]);
});

test("the unit of the documents clears every variable with which the environment loads code into the binary", async () => {
  const unit = readFileSync(join(import.meta.dir, "../../docs/operating.md"), "utf8");
  const cleared = /^UnsetEnvironment=(.+)$/m.exec(unit)![1]!.split(" ");
  const script = join(folder, "preload.ts");
  const hostile = {
    ...{ BUN_OPTIONS: `--preload ${script}`, BUN_INSPECT_PRELOAD: script, BUN_INSPECT: "1" },
    ...{ BUN_BE_BUN: "1", LD_PRELOAD: script, LD_LIBRARY_PATH: folder, LD_AUDIT: script },
    ...{ BUN_INSPECT_CONNECT_TO: `unix:${join(folder, "x")}` },
  };
  expect([...cleared].sort()).toEqual(Object.keys(hostile).sort());
  const unset = cleared.flatMap((name) => ["-u", name]);
  // As systemd does (systemd.exec(5)); env(1) itself is started with none of it.
  const set = Object.entries(hostile).map(([name, value]) => `${name}=${value}`);
  const inner = ["env", ...unset];
  const { stdout, code } = await runBehind(
    ["env", ...set.filter((one) => !one.startsWith("LD_")), ...inner],
    {},
    ["--version"],
  );
  expect(stdout).toMatch(/^migrate /);
  expect(code).toBe(0);
  expect(readdirSync(join(folder, "..", "open"))).toEqual([]);
});
