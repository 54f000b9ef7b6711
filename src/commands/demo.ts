/** `migrate demo`: a whole migration between two processes on this machine, the secure way. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MigrationEvent } from "../migration/report/events.ts";
import { allocatedBytes, freeBytes } from "../platform/files/filesystem.ts";
import { MigrateError } from "../protocol/errors.ts";
import { formatBytes, formatBytesExactly, formatDuration, formatRate } from "../terminal/format.ts";
import type { Reporter } from "../terminal/reporter.ts";
import { defineCommand } from "./cli/define-command.ts";
import { toggle } from "./cli/option.ts";
import { DemoChild } from "./demo/demo-child.ts";
import { type DemoVm, writeDemoVm } from "./demo/demo-vm.ts";

/** The VM twice (458 MiB each), and some room to spare. */
const roomBytes = 1024 ** 3;

interface DemoResult {
  bytes: number;
  wireBytes: number;
  seconds: number;
  rateBytesPerSec: number;
  digest: string;
  /** The destination's own digest was the same, and its files have it still when read again. */
  digestChecked: boolean;
  sourceAllocatedBytes: number;
  destinationAllocatedBytes: number;
  owner: string;
}

export default defineCommand({
  name: "migrate demo",
  summary: "move a made-up VM between two processes on this machine",
  about:
    "Makes a suspended VM (256 MiB of RAM, a 1 GiB sparse disk with 200 MiB in it) in a temporary folder (TMPDIR), runs migrate serve and migrate send with identities of their own, and says what came of it. Nothing of this host's own home is touched.",
  options: { keep: toggle("Keep the temporary folder") },
  examples: [["migrate demo", "takes a few seconds and 1 GiB of temporary room"]],
  async run({ options, world, reporter }) {
    const signal = world.interrupts(reporter);
    const folder = mkdtempSync(join(tmpdir(), "migrate-demo-"));
    try {
      if (freeBytes(folder) < roomBytes)
        throw new MigrateError("no-room", `${tmpdir()} has only ${formatBytes(freeBytes(folder))} free`, {
          hint: "The demo needs 1 GiB there; set TMPDIR to a folder with more room.",
        });
      reporter.note("Making a suspended VM: 256 MiB of RAM, a 1 GiB sparse disk ...");
      for (const name of ["source", "source-home", "destination-home"])
        mkdirSync(join(folder, name), { mode: 0o700 });
      const vm = writeDemoVm(join(folder, "source"));
      signal.throwIfAborted();
      const result = await migrateOnce({ folder, vm, self: world.self, reporter, signal });
      reporter.result({ event: "demo", ...result }, summaryOf(result));
    } finally {
      if (options.keep) reporter.note(`Kept: ${folder}`);
      else rmSync(folder, { recursive: true, force: true });
    }
    return undefined;
  },
});

async function migrateOnce(demo: {
  folder: string;
  vm: DemoVm;
  self: readonly string[];
  reporter: Reporter;
  signal: AbortSignal;
}): Promise<DemoResult> {
  const { folder, vm, self, reporter, signal } = demo;
  const sourceAllocatedBytes = allocatedBytes(vm.ram) + allocatedBytes(vm.disk);
  const store = join(folder, "store");
  const children: DemoChild[] = [];
  const start = (argv: string[], home: string, observe: (event: MigrationEvent) => void) => {
    const child = new DemoChild({ self, argv, home: join(folder, home), observe });
    children.push(child);
    return child;
  };
  const { promise: interrupted, reject } = Promise.withResolvers<never>();
  interrupted.catch(() => {});
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  const migration = async (): Promise<DemoResult> => {
    const serve = start(
      ["serve", "--listen", "127.0.0.1:0", "--store", store, "--once"],
      "destination-home",
      () => {},
    );
    const { address, ticket = "" } = await serve.waitFor("listening");
    const files = ["--name", "demo", "--ram", vm.ram, "--disk", vm.disk];
    const send = start(["send", ...files, address, "--ticket", ticket], "source-home", (event) => {
      // The demo ends with its own summary, and reports an error as its own.
      if (reporter.json || (event.event !== "done" && event.event !== "error")) reporter.observer(event);
    });
    const done = await send.waitFor("done");
    await send.finished();
    const received = await serve.waitFor("done");
    await serve.finished();
    const verify = start(["verify", join(store, "demo")], "destination-home", () => {});
    await verify.finished();
    return {
      bytes: done.bytes,
      wireBytes: done.wireBytes,
      seconds: done.seconds,
      rateBytesPerSec: done.seconds > 0 ? done.bytes / done.seconds : 0,
      digest: done.digest,
      digestChecked: done.digest === received.digest,
      sourceAllocatedBytes,
      destinationAllocatedBytes:
        allocatedBytes(join(store, "demo", "demo.ram")) + allocatedBytes(join(store, "demo", "demo.img")),
      owner: received.owner,
    };
  };
  try {
    const result = await Promise.race([migration(), interrupted]);
    if (!result.digestChecked) throw new MigrateError("integrity", "The two sides have different digests");
    return result;
  } finally {
    await Promise.all(children.map((child) => child.kill()));
  }
}

function summaryOf(result: DemoResult): string {
  const onSource = formatBytes(result.sourceAllocatedBytes);
  const onDestination = formatBytes(result.destinationAllocatedBytes);
  const sparse = result.destinationAllocatedBytes <= result.sourceAllocatedBytes;
  return [
    "",
    `VM             ${formatBytesExactly(result.bytes)}`,
    `On the wire    ${formatBytesExactly(result.wireBytes)}`,
    `Time           ${formatDuration(result.seconds * 1000)} (${formatRate(result.rateBytesPerSec)})`,
    `Digest         ${result.digest}`,
    "               checked by the destination, and again from its files",
    `On disk        ${onSource} at the source, ${onDestination} at the destination${sparse ? ": still sparse" : ""}`,
    `Owner now      the ${result.owner}`,
  ].join("\n");
}
