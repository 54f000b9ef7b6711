/**
 * The programs of the crash tests, bundled: hundreds of them are started, and a bundle starts in half the time that
 * the sources take.
 */
import { afterAll } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../../..");
const programs = ["crash-send", "crash-serve"] as const;
type CrashProgram = (typeof programs)[number];

/** Where they lie until the tests of the file are over; undefined until one is asked for. */
let folder: string | undefined;

afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
  folder = undefined;
});

/** The command that runs crash-send.ts or crash-serve.ts. Throws what bun wrote if they cannot be bundled. */
export function crashProgram(name: CrashProgram): string[] {
  if (folder === undefined) {
    folder = mkdtempSync(join(tmpdir(), "crash-programs-"));
    bundleInto(folder);
  }
  return [process.execPath, join(folder, "bundle", `${name}.js`)];
}

/** Bundles both, and the Workers that they start. */
function bundleInto(folder: string): void {
  const workers = readdirSync(join(root, "src")).filter((name) => name.endsWith(".worker.ts"));
  const entries = [
    ...programs.map((name) => `test/support/moves/${name}.ts`),
    ...workers.map((name) => `src/${name}`),
  ];
  const options = ["--target", "bun", "--splitting", "--minify", "--entry-naming", "[name].[ext]"];
  const command = [process.execPath, "build", ...options, "--outdir", join(folder, "bundle"), ...entries];
  const { success, stderr } = Bun.spawnSync(command, { cwd: root, stdin: "ignore" });
  if (!success) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  // A program looks for a Worker's source one folder above its own (src/platform/worker.ts).
  for (const name of workers) {
    writeFileSync(join(folder, name), `import "./bundle/${name.replace(/ts$/, "js")}";\n`);
  }
}
