/**
 * Every refusal of a running VM by its destination: `explain` and `send` say the same sentence and end with the same
 * code, nothing of the VM is sent, it stays as it was, and neither leaves anything there.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { runProgram } from "../../../src/commands/cli/program.ts";
import { openHome } from "../../../src/home/home.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import type { QemuPolicy } from "../../../src/migration/providers/qemu/arriving-command.ts";
import { processId } from "../../../src/platform/process-id.ts";
import { errorCodes } from "../../../src/protocol/errors.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { commandTree, TestWorld } from "../../commands/world.ts";
import { callMonitor } from "../../support/guests/seen/monitor.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { startServing, stopServing } from "../../support/moves/serving.ts";
import { refusalSentences } from "../../support/refusals/refusal-sentences.ts";
import { startChild } from "../../support/system/child.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

interface Row {
  says: string | RegExp;
  code: keyof typeof errorCodes;
  /** More words of the VM's QEMU. */
  words?: string[];
  flags?: string[];
  /** What the destination allows; undefined for one that serves without --qemu. */
  policy?: QemuPolicy | undefined;
  /** The programs of the destination, if it does not have them all. */
  programs?: string[];
  before?: (there: { home: string; store: string }) => unknown;
}

const main = resolve(import.meta.dir, "../../../src/main.ts");
const tree = commandTree("explain", "send");
const usual: QemuPolicy = { allowTcg: true, net: { kind: "none" }, confinement: null };
const card = (...netdev: string[]) => ["-netdev", ...netdev, "-device"];
const processors = availableParallelism() + 1;

const rows: Row[] = [
  {
    says: "the destination takes VMs in, and starts none: it serves without --qemu",
    code: "policy",
    policy: undefined,
  },
  {
    says: /^the VM has \d+ MiB of memory, and the destination has \d+ MiB free$/,
    code: "policy",
    words: ["-m", `${Math.floor(totalmem() / 2 ** 20) - 64}M`],
  },
  {
    says: `the VM has ${processors} processors, and the destination has ${processors - 1}`,
    code: "policy",
    words: ["-smp", `${processors}`],
  },
  {
    says: /^The VM's network card 0 \("n0"\) is on QEMU's user network, whose state is a part of the VM: /,
    code: "policy",
    words: [...card("user,id=n0"), "e1000,netdev=n0"],
    policy: {
      ...usual,
      net: { kind: "none", cards: [{ card: 0, behind: { kind: "bridge", bridge: "br0" } }] },
    },
  },
  {
    says: /^The VM's network card 0 \("n0"\) is a virtio card on a tap device, and can resume only with one: /,
    code: "policy",
    words: [...card("tap,id=n0,script=no,downscript=no"), "virtio-net-pci,netdev=n0"],
  },
  {
    says: "the destination has no qemu-system-x86_64 to run this VM with",
    code: "policy",
    programs: ["swtpm", "qemu-img"],
  },
  {
    says: "the destination has no qemu-img to run this VM with",
    code: "policy",
    words: ["-drive", "file=DIR/b.qcow2,format=qcow2"],
    programs: ["swtpm", "qemu-system-x86_64"],
  },
  {
    says: "a VM named web1 runs at the destination already",
    code: "name-taken",
    before: ({ home }) => {
      const run = RunFolder.at(openHome(home), "web1");
      run.make("ab".repeat(16));
      run.note("qemu", processId(process.pid)!);
    },
  },
  {
    says: "the destination cannot tell whether an earlier VM named web1 runs there still",
    code: "name-taken",
    before: ({ home }) => {
      mkdirSync(join(openHome(home), "run", "web1"), { recursive: true });
      writeFileSync(join(home, "run", "web1", "processes.json"), "{");
    },
  },
  {
    says: "the VM's name is too long for the sockets that it would have at the destination",
    code: "name-invalid",
    flags: ["--name", "n".repeat(100)],
  },
  {
    says: "there is a VM named web1 in the destination's store",
    code: "name-taken",
    before: ({ store }) => mkdirSync(join(store, "web1"), { recursive: true }),
  },
];

const said: string[] = [];
let folder: string;
let world: TestWorld;

eachTestInFolder("refused-there-", (made) => {
  folder = made;
  world = Object.assign(new TestWorld(), { self: [process.execPath, main] });
  return async () => {
    await stopServing();
    world.remove();
  };
});

/** A QEMU whose guest was started, and is paused. */
async function startVm(words: readonly string[]) {
  writeFileSync(join(folder, "a.raw"), Buffer.alloc(1 << 20));
  if (words.some((word) => word.includes("b.qcow2")))
    await createDisk({ path: join(folder, "b.qcow2"), format: "qcow2" }, 1);
  const child = startChild(
    [
      ...["qemu-system-x86_64", "-name", "web1", "-machine", "pc", "-accel", "tcg", "-S", "-nodefaults"],
      ...[
        "-display",
        "none",
        "-drive",
        "file=a.raw,format=raw",
        ...(words.includes("-m") ? [] : ["-m", "32M"]),
      ],
      ...["qmp", "watch"].flatMap((name) => ["-qmp", `unix:${join(folder, name)},server=on,wait=off`]),
      ...words.map((word) => word.replace("DIR", folder)),
    ],
    { cwd: folder },
  );
  let hasEnded = false;
  void child.exit.then(() => {
    hasEnded = true;
  });
  const monitor = await callMonitor(join(folder, "watch"), () => {
    if (hasEnded) throw new Error(`QEMU has ended: ${child.stderr()}`);
    return true;
  });
  await monitor.execute("cont");
  await monitor.execute("stop");
  return { child, monitor };
}

/** Serves in a process of its own, where these programs are all that there is. Returns where it listens. */
async function serveWith(programs: readonly string[], home: string, store: string): Promise<string> {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const program of programs) symlinkSync(Bun.which(program)!, join(bin, program));
  const words = ["serve", "--listen", "127.0.0.1:0", "--store", store, "--insecure", "--qemu", "--allow-tcg"];
  const serving = startChild([process.execPath, main, ...words, "--vm-users", "off", "--json"], {
    env: { ...process.env, PATH: bin, MIGRATE_HOME: home },
  });
  const found = () => /"address":"([^"]+)"/.exec(serving.stdout())?.[1];
  await until(() => found() !== undefined, `a destination; ${serving.stderr()}`, 30_000);
  return found()!;
}

function expectNothingThere(home: string, store: string): void {
  const journal = Journal.open(home);
  expect(journal.all("destination")).toEqual([]);
  journal.close();
  expect(
    readdirSync(store).filter((name) => name.startsWith(".migrate-") && name !== ".migrate-lock"),
  ).toEqual([]);
}

for (const row of rows) {
  test(String(row.says), async () => {
    const [home, store] = [join(folder, "there"), join(folder, "store")];
    const { child, monitor } = await startVm(row.words ?? []);
    try {
      await row.before?.({ home, store });
      const policy = "policy" in row ? row.policy : usual;
      let to: string;
      if (row.programs !== undefined) to = await serveWith(row.programs, home, store);
      else {
        const serving = await startServing({ home, store, workers: 1, ...(policy && { qemu: policy }) });
        to = `127.0.0.1:${serving.address.port}`;
      }
      const words = [`qmp:${join(folder, "qmp")}`, to, "--insecure", "--json", ...(row.flags ?? [])];
      const explained = await runProgram(tree, ["explain", ...words], world);
      const [explanation] = world.takeEvents().filter(({ event }) => event === "explanation");
      expectNothingThere(home, store);
      const sent = await runProgram(tree, ["send", ...words, "--retry-for", "0s"], world);
      const error = world.takeEvents().find(({ event }) => event === "error") ?? {};
      const sentence = error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
      const first = (explanation?.refused as string[] | undefined)?.[0];
      // How much is free differs from moment to moment.
      const same = (text: unknown) => String(text).replace(/\d+ MiB free/, "N MiB free");
      expect({ first: same(first), explained }).toEqual({ first: same(sentence), explained: sent });
      expect(sent).toBe(errorCodes[row.code]);
      if (typeof row.says === "string") expect(first).toBe(row.says);
      else expect(first).toMatch(row.says);
      expectNothingThere(home, store);
      expect(await monitor.execute("query-status")).toMatchObject({ status: "paused" });
      said.push(first!);
    } finally {
      await monitor.execute("quit").catch(() => {});
      monitor.close();
      await child.exit;
    }
  });
}

/** What no row brings about, by how its sentence begins, and where it is tested. */
const elsewhere: readonly (readonly [text: string, where: string])[] = [
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: templates, as they stand in the source
  ["a VM that runs can be moved, not copied", "a peer that lies: running-offers.test.ts"],
  ["the VM has no file at all", "a peer that lies: running-offers.test.ts"],
  ["the files of the offer are not those", "a peer that lies: running-offers.test.ts"],
  ["an image of the offer is declared", "a peer that lies: running-offers.test.ts"],
  ["A bridge's name", "its own flag's: net-policy.test.ts"],
  ["the VM's cards are on more than one network", "two bridges: network-arguments.test.ts"],
  ["the destination cannot make the VM's machine", "another QEMU: fitted-processors.test.ts"],
  ["the destination's QEMU cannot make the VM's machine", "another QEMU: fitted-processors.test.ts"],
  ["the destination's QEMU is ${major}.${minor}", "another QEMU: fitted-processors.test.ts"],
  ["the destination's QEMU ${major}.${minor} does not know", "another QEMU: fitted-processors.test.ts"],
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: templates, as they stand in the source
];

test("every place of the destination that refuses a running VM is in a table", () => {
  const unknown = refusalSentences([
    "src/migration/providers/qemu/arriving-command.ts",
    "src/migration/providers/qemu/processors/fitted-model.ts",
    "src/vm/qemu/definition/network-arguments.ts",
    "src/vm/qemu/host-room.ts",
  ]).filter(
    ({ text, pattern }) =>
      !said.some((sentence) => pattern.test(sentence)) &&
      !elsewhere.some(([begins]) => text.startsWith(begins)),
  );
  expect(unknown.map(({ file, text }) => `${file}: ${text}`)).toEqual([]);
});

afterAll(() => said.splice(0));
