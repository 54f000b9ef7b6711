/**
 * Every refusal of a VM that runs: `explain` and `send` say the same sentence with the same way out, end with the same
 * exit code, and nobody at the other end is even called. A place in the source that refuses and is in no table fails.
 */
import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { runProgram } from "../../../src/commands/cli/program.ts";
import { lookAtLeaving } from "../../../src/migration/providers/qemu/leaving/leaving-look.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { unmigratable } from "../../../src/vm/qemu/definition/device-rules.ts";
import { refusedOptions, refusedSwitches } from "../../../src/vm/qemu/definition/other-options.ts";
import { Qmp } from "../../../src/vm/qemu/qmp/qmp.ts";
import { commandTree, TestWorld } from "../../commands/world.ts";
import { callMonitor } from "../../support/guests/seen/monitor.ts";
import { argvOf, argvRefusals } from "../../support/refusals/argv-refusals.ts";
import { type QemuRefusal, qemuRefusals } from "../../support/refusals/qemu-refusals.ts";
import { type RefusalSite, refusalSites, sitesOf } from "../../support/refusals/refusal-sites.ts";
import { startWorded } from "../../support/refusals/worded-process.ts";
import { type Child, startChild } from "../../support/system/child.ts";
import { LoopDevices } from "../../support/system/loop-devices.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

// The texts are of templates, as they stand in the source.
// biome-ignore-start lint/suspicious/noTemplateCurlyInString: see above
/** What no VM here can bring about, by how its text begins, and what is tested of it elsewhere. */
const elsewhere: readonly (readonly [text: string, why: string])[] = [
  ['new MigrateError("policy", "The VM runs with KVM, and', "the destination's: command-line.test.ts"],
  ['new MigrateError( "policy", `The VM has its host', "the destination's: command-line.test.ts"],
  ['new MigrateError( "policy", "The VM has KVM', "the destination's: command-line.test.ts"],
  [
    'new MigrateError("policy", "the VM\'s definition names a file',
    "a model that lies: tampered-models.test.ts",
  ],
  [
    'new MigrateError( "policy", "-initrd is refused: the VM\'s path',
    "the destination's: command-line.test.ts",
  ],
  ['new MigrateError("policy", "The VM has a TPM, and', "the destination's: command-line.test.ts"],
  ['refused("An argument"', "an argument of the kernel's is proper text: command-lines.test.ts"],
  ['new MigrateError("usage", "A bridge', "the destination's: network-arguments.test.ts"],
  ['new MigrateError( "policy", `${nameOf(card, number)}', "the destination's: network-arguments.test.ts"],
  [
    'new MigrateError( "policy", "the VM\'s cards are on more',
    "the destination's: network-arguments.test.ts",
  ],
  ['refused(option, "it is no JSON object")', "what begins as one is one: option-syntax.test.ts"],
  [
    'new MigrateError( "policy", `the VM\'s definition is refused',
    "a model that lies: tampered-models.test.ts",
  ],
  [
    'new MigrateError("policy", "the VM\'s definition is refused',
    "a model that lies: tampered-models.test.ts",
  ],
  ['invalid( "The command line of the VM\'s QEMU cannot be read"', "another user's: other-user.test.ts"],
  [
    "invalid( `The VM was started with ${wanted} processors",
    "a guest gives a processor up, if it has ACPI for it",
  ],
  ["invalid( `The VM's QEMU cannot be looked at", "another user's: other-user.test.ts"],
  ['invalid("The VM\'s QEMU has ended"', "qemu-files.test.ts"],
  ["invalid( `It is not clear whose", "qemu-files.test.ts"],
  ["invalid( `The VM's QEMU is another user's", "other-user.test.ts"],
  ["invalid( `${path} is named by a QEMU of user", "qemu-files.test.ts"],
  ['new MigrateError("io"', "once it has moved: after.test.ts"],
  ['new MigrateError("source-changed"', "while it is moved: others-hands.test.ts"],
  ['new MigrateError("vm-invalid", `${path} is a qcow2 image of a kind', "QEMU here makes no such image"],
  ['new MigrateError("vm-busy", `${base} is open for writing by something', "file-holders.test.ts"],
  ['refusal({ says: "is encrypted', "its secret is refused before"],
  ["cannotMove(", "while it is moved: others-hands.test.ts"],
  ["heldByUnknown(", "file-holders.test.ts"],
];
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: see above

const tree = commandTree("explain", "send");
const sites = refusalSites();
const seen = new Set<RefusalSite>();

let folder: string;
let world: TestWorld;

eachTestInFolder("refusals-", (made) => {
  folder = made;
  world = new TestWorld();
  writeFileSync(join(folder, "a.raw"), Buffer.alloc(1 << 20));
  return () => world.remove();
});

/** Runs both commands on the VM behind the socket; both must say this first, and nobody may be called. */
async function expectRefused(socket: string, says: string, flags: readonly string[] = []): Promise<void> {
  const where = `qmp:${socket}`;
  let calls = 0;
  const nobody = createServer((caller) => {
    calls++;
    caller.destroy();
  });
  await new Promise<void>((resolve) => nobody.listen(0, "127.0.0.1", resolve));
  const { port } = nobody.address() as { port: number };
  try {
    const explained = await runProgram(tree, ["explain", where, "--json", ...flags], world);
    const [explanation] = world.takeEvents();
    const to = [`127.0.0.1:${port}`, "--insecure", "--retry-for", "0s"];
    const sent = await runProgram(tree, ["send", where, ...to, "--json", ...flags], world);
    const error = world.takeEvents().find(({ event }) => event === "error") as
      | Partial<MigrateError>
      | undefined;
    const sentence = error?.hint === undefined ? error?.message : `${error.message}. ${error.hint}`;
    expect({
      explained: (explanation?.refused as string[] | undefined)?.[0],
      sent: sentence,
      code: sent,
      calls,
    }).toEqual({
      explained: says,
      sent: says,
      code: explained,
      calls: 0,
    });
    expect(explained).toBeGreaterThan(0);
  } finally {
    await new Promise((resolve) => nobody.close(resolve));
  }
}

/** Notes from which places of the source the first refusal of this VM comes. */
async function noteSites(socket: string, flags: readonly string[]): Promise<void> {
  const flag = (name: string) => (flags.includes(name) ? flags[flags.indexOf(name) + 1] : undefined);
  using qmp = await Qmp.connect(socket);
  const leave = { name: flag("--name"), live: flag("--mode") !== "stop" };
  const { refusals } = await lookAtLeaving(qmp, socket, leave);
  for (const site of sitesOf(refusals[0]!, sites)) seen.add(site);
}

for (const [says, words] of argvRefusals) {
  test(`of a command line: ${says}`, async () => {
    const socket = join(folder, "qmp");
    const child = await startWorded(socket, argvOf(words));
    try {
      await expectRefused(socket, says);
      await noteSites(socket, []);
    } finally {
      await child.kill();
    }
  });
}

/** Starts the row's QEMU; it stands paused, unless it is to be left as it starts. */
async function startVm({ words, unstarted }: QemuRefusal, at: (text: string) => string) {
  const [qmp, watch] = ["qmp", "watch"].map((name) => `unix:${join(folder, name)},server=on,wait=off`);
  const child: Child = startChild(
    [
      ...["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-S", "-nodefaults", "-display", "none"],
      ...["-qmp", qmp!, "-qmp", watch!, ...(words.includes("-m") ? [] : ["-m", "32M"])],
      ...(words.includes("@noname") ? [] : ["-name", "web1"]),
      ...words.filter((word) => !word.startsWith("@")).map(at),
    ],
    { cwd: folder },
  );
  let hasFailed = false;
  if (!words.includes("-daemonize")) {
    void child.exit.then(() => {
      hasFailed = true;
    });
  }
  const monitor = await callMonitor(join(folder, "watch"), () => {
    if (hasFailed) throw new Error(`QEMU has ended: ${child.stderr()}`);
    return true;
  });
  if (unstarted !== true) {
    await monitor.execute("cont");
    await monitor.execute("stop");
  }
  return { child, monitor };
}

for (const row of qemuRefusals) {
  test(`of a VM that runs: ${row.says}`, async () => {
    const loops = new LoopDevices();
    const loop = row.words.some((word) => word.includes("LOOP"))
      ? await loops.attach(join(folder, "a.raw"))
      : "";
    const at = (text: string) => text.replaceAll(/DIR(?=\/)/g, folder).replaceAll("LOOP", loop);
    const undo: unknown[] = [await row.before?.(folder)];
    const { child, monitor } = await startVm(row, at);
    try {
      undo.push(await row.after?.(monitor, folder));
      const socket = join(folder, "qmp");
      const program = process.execPath.slice(process.execPath.lastIndexOf("/") + 1);
      const says = at(row.says).replace("PROGRAM", program).replace("PID", String(process.pid));
      await expectRefused(socket, says, row.flags);
      await noteSites(socket, row.flags ?? []);
    } finally {
      for (const back of undo) if (typeof back === "function") back();
      await monitor.execute("quit").catch(() => {});
      monitor.close();
      await child.exit;
      await loops.close();
    }
  });
}

test("every option that is refused, and every device that QEMU cannot migrate, is in the table", () => {
  const named = argvRefusals.flatMap(([, words]) => words);
  const all = [...Object.keys(refusedOptions), ...Object.keys(refusedSwitches), ...Object.keys(unmigratable)];
  expect(all.filter((word) => !named.includes(word))).toEqual([]);
});

test("every place that refuses a VM is in a table", () => {
  const unknown = sites.filter(
    (site) => !seen.has(site) && !elsewhere.some(([text]) => site.text.startsWith(text)),
  );
  expect(unknown.map(({ file, firstLine, text }) => `${file}:${firstLine} ${text}`)).toEqual([]);
});

afterAll(() => seen.clear());
