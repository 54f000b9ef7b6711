import { afterEach, expect, test } from "bun:test";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DescriptorOutput } from "../../src/terminal/output.ts";

const outputModule = join(import.meta.dir, "../../src/terminal/output.ts");
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "migrate-output-"));
  folders.push(folder);
  return folder;
}

/** Runs a script that has `out`, an output on its standard output, as a child with a pipe there. */
function child<Stdout extends "pipe" | number>(script: string, stdout: Stdout) {
  const source = `
    import { DescriptorOutput } from ${JSON.stringify(outputModule)};
    const out = new DescriptorOutput(1, false);
    ${script}`;
  return Bun.spawn([process.execPath, "-e", source], { stdout, stderr: "pipe", stdin: "ignore" });
}

test("text keeps its order, and flush waits for all of it", async () => {
  const path = join(temporaryFolder(), "out");
  const descriptor = openSync(path, "w");
  const output = new DescriptorOutput(descriptor, false);
  for (let at = 0; at < 1000; at += 1) output.write(`${at}\n`);
  expect(output.queuedBytes).toBeGreaterThan(0);
  await output.flush();
  expect(output.queuedBytes).toBe(0);
  closeSync(descriptor);
  expect(readFileSync(path, "utf8")).toBe(Array.from({ length: 1000 }, (_, at) => `${at}\n`).join(""));
});

test("a slow reader gets everything that was written before the exit", async () => {
  const lines = 20_000;
  const process = child(
    `
    for (let at = 0; at < ${lines}; at++) out.write("x".repeat(99) + "\\n");
    await out.flush();
    process.exit(3);`,
    "pipe",
  );
  const text = await new Response(process.stdout).text();
  expect(text.length).toBe(lines * 100);
  expect(await process.exited).toBe(3);
});

test("a stalled reader does not stall the process", async () => {
  const fifo = join(temporaryFolder(), "fifo");
  Bun.spawnSync(["mkfifo", fifo]);
  // Opened for both, a FIFO lets us hold its reading end without ever reading: fifo(7).
  const descriptor = openSync(fifo, constants.O_RDWR);
  const stalled = child(
    `
    out.write("x".repeat(4 * 1024 * 1024));
    await new Promise((resolve) => setTimeout(resolve, 1));
    console.error("still here " + (out.queuedBytes > 0));
    process.exit(0);`,
    descriptor,
  );
  expect((await new Response(stalled.stderr).text()).trim()).toBe("still here true");
  expect(await stalled.exited).toBe(0);
  closeSync(descriptor);
});

test("a reader that goes away (| head) ends the writing, not the process", async () => {
  const source = `
    import { DescriptorOutput } from ${JSON.stringify(outputModule)};
    const out = new DescriptorOutput(1, false);
    for (let at = 0; at < 5000; at++) { out.write("x".repeat(99) + "\\n"); if (at % 1000 === 0) await out.flush(); }
    await out.flush();
    out.write("more");
    console.error("queued " + out.queuedBytes);
    process.exit(7);`;
  const command = `"$0" -e "$1" | head -c 10 >/dev/null; echo "\${PIPESTATUS[0]}"`;
  const shell = Bun.spawn(["bash", "-c", command, process.execPath, source], {
    stdout: "pipe",
    stderr: "pipe",
  });
  expect((await new Response(shell.stdout).text()).trim()).toBe("7");
  expect((await new Response(shell.stderr).text()).trim()).toBe("queued 0");
});
