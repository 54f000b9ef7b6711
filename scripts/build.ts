/**
 * Writes dist/migrate, one file that needs nothing beside it; with --all also the binaries for the
 * other kinds of Linux host, and SHA256SUMS over them all.
 *
 * Bun's runtimes for other targets are fetched with npm, which checks them against the registry, and
 * must have the SHA-512 that is written down here. Throws where anything fails.
 */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "..");
const dist = join(root, "dist");

/** Each Worker is an entry point of its own; all of them stand in one folder. */
const entries = [
  "src/main.ts",
  ...readdirSync(join(root, "src"))
    .filter((name) => name.endsWith(".worker.ts"))
    .sort()
    .map((name) => `src/${name}`),
];

/**
 * Without the two --no-… flags the binary would run a preload out of a bunfig.toml in its working folder.
 * Split, what only some commands need (the figures of profile) costs the others neither time nor memory.
 */
const flags = ["--compile", "--splitting", "--no-compile-autoload-bunfig", "--no-compile-autoload-dotenv"];

interface Target {
  /** The file in dist/. */
  name: string;
  /** The package with Bun's runtime for it, without its version: that is this very Bun's. */
  runtime: string;
  /** SHA-512 of the package's archive for bunVersion, in the registry's spelling. */
  integrity: string;
}

const bunVersion = "1.4.5";

const targets: readonly Target[] = [
  {
    name: "migrate-linux-x64-baseline",
    runtime: "@oven/bun-linux-x64-baseline",
    integrity:
      "sha512-s8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==",
  },
  {
    name: "migrate-linux-x64-musl",
    runtime: "@oven/bun-linux-x64-musl",
    integrity:
      "sha512-10QoW/YfTgnURaGEaHpJCiXjLI2e5iTtfVDaA5JKcyUzaa1cq6cVUY9/Uq5XkYzvtRjHLRe9Oj/lTDIQcxy8HQ==",
  },
  {
    name: "migrate-linux-arm64",
    runtime: "@oven/bun-linux-aarch64",
    integrity:
      "sha512-4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==",
  },
];

if (Bun.version !== bunVersion)
  throw new Error(`This project is built with Bun ${bunVersion}, not ${Bun.version}.`);
mkdirSync(dist, { recursive: true });
const commit = await commitName();
await compile("migrate");
if (process.argv.includes("--all")) {
  const built = ["migrate"];
  const scratch = mkdtempSync(join(tmpdir(), "migrate-dist-"));
  try {
    for (const target of targets) {
      await compile(target.name, await runtimeOf(target, scratch));
      built.push(target.name);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  await writeSums(built);
}

/** Compiles src/ into dist/NAME, for this machine or with another machine's runtime. */
async function compile(name: string, runtime?: string): Promise<void> {
  const outfile = join(dist, name);
  const other = runtime === undefined ? [] : [`--compile-executable-path=${runtime}`];
  const define = `MIGRATE_COMMIT=${JSON.stringify(commit)}`;
  // Never --bytecode: Workers then fail silently once the sources are gone.
  await run([
    process.execPath,
    "build",
    ...flags,
    ...other,
    "--define",
    define,
    ...entries,
    "--outfile",
    outfile,
  ]);
  chmodSync(outfile, 0o755);
  const mebibytes = Bun.file(outfile).size / 1024 ** 2;
  console.log(`dist/${name}  ${mebibytes.toFixed(0)} MiB  (${commit})`);
}

/** The commit that is built: 12 digits, "+dirty" where the tree differs from it, "unknown" outside git. */
async function commitName(): Promise<string> {
  if (!existsSync(join(root, ".git")) || Bun.which("git") === null) return "unknown";
  const git = async (...words: string[]) => {
    const child = Bun.spawn(["git", "-C", root, ...words], {
      stdout: "pipe",
      stderr: "ignore",
      stdin: "ignore",
    });
    const text = await new Response(child.stdout).text();
    return (await child.exited) === 0 ? text.trim() : undefined;
  };
  const head = await git("rev-parse", "--short=12", "HEAD");
  if (head === undefined || head === "") return "unknown";
  const changes = await git("status", "--porcelain");
  return changes === "" ? head : `${head}+dirty`;
}

/** The path of Bun's runtime for a target, fetched and checked. */
async function runtimeOf(target: Target, scratch: string): Promise<string> {
  const folder = join(scratch, target.name);
  mkdirSync(folder);
  await run(["npm", "pack", "--silent", "--pack-destination", folder, `${target.runtime}@${bunVersion}`]);
  const archive = readdirSync(folder).find((name) => name.endsWith(".tgz"));
  if (archive === undefined) throw new Error(`npm pack brought no archive of ${target.runtime}`);
  const bytes = await Bun.file(join(folder, archive)).bytes();
  const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  if (integrity !== target.integrity)
    throw new Error(`${target.runtime}@${bunVersion} is not the package written down here: ${integrity}`);
  await run(["tar", "-xzf", join(folder, archive), "-C", folder, "package/bin/bun"]);
  return join(folder, "package/bin/bun");
}

/** As sha256sum writes them, so that `sha256sum -c SHA256SUMS` checks them. */
async function writeSums(names: readonly string[]): Promise<void> {
  const lines = [];
  for (const name of [...names].sort()) {
    const hash = createHash("sha256").update(await Bun.file(join(dist, name)).bytes());
    lines.push(`${hash.digest("hex")}  ${name}\n`);
  }
  await Bun.write(join(dist, "SHA256SUMS"), lines.join(""));
  console.log("dist/SHA256SUMS");
}

async function run(command: string[]): Promise<void> {
  // BUN_OPTIONS of the caller is none of the compiler's business.
  const { BUN_OPTIONS: _, ...env } = process.env;
  const child = Bun.spawn(command, { cwd: root, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [told, complained, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0)
    throw new Error(`${command.slice(0, 2).join(" ")} failed with exit code ${code}:\n${told}${complained}`);
}
