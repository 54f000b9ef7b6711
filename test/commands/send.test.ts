/** What `migrate send` and `serve` refuse before anything is touched, and what the help shows of VMs that run. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../src/commands/cli/program.ts";
import { parseCompression } from "../../src/commands/send.ts";
import { exitCodes, MigrateError } from "../../src/protocol/errors.ts";
import { commandTree, eachTestHasWorld, type TestWorld } from "./world.ts";

const tree = commandTree("send", "serve");

let world: TestWorld;
eachTestHasWorld((made) => {
  world = made;
});

const run = (...words: string[]) => runProgram(tree, words, world);

const vm = "qmp:/nowhere/web1.qmp";

/** Runs it and gives the one error it must end with; nothing of this program's is made by it. */
async function refused(words: string[]): Promise<Record<string, unknown>> {
  expect(await run(...words, "--json")).toBe(exitCodes.usage);
  const events = world.takeEvents();
  expect(events.map(({ event }) => event)).toEqual(["error"]);
  expect(existsSync(join(world.folder, "home"))).toBe(false);
  return events[0]!;
}

describe("migrate send refuses", () => {
  test.each([
    [["--on-timeout", "force"], "--on-timeout says what --timeout does"],
    [["--on-timeout", "stop"], '--on-timeout must be one of cancel, force, not "stop"'],
    [
      ["--mode", "stop", "--timeout", "1m", "--on-timeout", "force"],
      "--on-timeout force is about a live move",
    ],
    [["--mode", "fast"], '--mode must be one of live, stop, not "fast"'],
    [["--mode", ""], "--mode needs a value: --mode MODE"],
    [["--multifd", "0"], '--multifd must be a whole number from 1 to 15, not "0"'],
    [["--multifd", "16"], '--multifd must be a whole number from 1 to 15, not "16"'],
    [["--multifd", "two"], "--multifd must be a whole number"],
    [["--downtime-limit", "0"], '--downtime-limit must be from 1 ms to 60 s, not "0"'],
    [["--downtime-limit", "61s"], '--downtime-limit must be from 1 ms to 60 s, not "61s"'],
    [["--downtime-limit", "300"], '--downtime-limit cannot be read: "300" is not a duration'],
    [["--auto-converge", "yes"], '--auto-converge must be one of on, off, not "yes"'],
    [["--auto-converge"], "--auto-converge needs a value: --auto-converge on|off"],
    [["--bandwidth", "0"], '--bandwidth cannot be read: "0" is not a size'],
    [["--copy"], "A VM that runs can be moved, not copied"],
    [["--ram", "web1.ram"], "The files of a VM that runs are found by its QEMU"],
    [["--disk", "web1.qcow2"], "The files of a VM that runs are found by its QEMU"],
    [["--tpm-state", "tpm"], "The files of a VM that runs are found by its QEMU"],
    [["--mode", "stop", "--downtime-limit", "300ms"], "--downtime-limit is about a live move"],
    [["--mode", "stop", "--auto-converge", "off"], "--auto-converge is about a live move"],
  ])("of a VM that runs: %j", async (flags, sentence) => {
    const { code, message, hint } = await refused(["send", vm, "hostb:7600", ...flags]);
    expect(message).toStartWith(sentence);
    expect(code).toBe("usage");
    expect(hint).toEndWith("See migrate send --help");
  });

  test.each([
    ["--mode", "live"],
    ["--mode", "stop"],
    ["--multifd", "2"],
    ["--downtime-limit", "300ms"],
    ["--auto-converge", "off"],
  ])("of a VM that does not run: %s %s", async (flag, value) => {
    const said = `${flag} is about a VM that runs, which is given as qmp:PATH`;
    const folder = await refused(["send", "/srv/vms/web1", "hostb:7600", flag, value]);
    expect(folder.message).toBe(said);
    const files = await refused(["send", "--name", "web1", "--disk", "a", "hostb:7600", flag, value]);
    expect(files.message).toBe(said);
  });

  test.each([
    [[vm], "HOST:PORT is missing"],
    [["qmp:", "hostb"], "The path of the QMP socket is missing"],
    [[vm, "hostb:port"], 'HOST:PORT must be HOST:PORT, not "hostb:port"'],
    [[vm, "hostb", "hostc"], 'Unexpected argument "hostc"'],
  ])("%j", async (words, sentence) => {
    expect((await refused(["send", ...words])).message).toBe(sentence);
  });

  test("a socket that is not there, by name", async () => {
    expect(await run("send", vm, "hostb:7600", "--json")).not.toBe(0);
    expect(world.takeEvents().at(-1)).toMatchObject({
      code: "vm-invalid",
      side: "source",
      message: "There is no socket /nowhere/web1.qmp",
    });
  });
});

describe("migrate serve refuses", () => {
  test.each([
    [["--allow-tcg"], "--allow-tcg is about VMs that run: it needs --qemu"],
    [["--net", "user"], "--net is about VMs that run: it needs --qemu"],
    [["--qemu", "--net", "nonsense"], '--net must be user, bridge:NAME or none, not "nonsense"'],
    [["--qemu", "--net", "bridge:"], '--net must be user, bridge:NAME or none, not "bridge:"'],
    [["--qemu", "--net", "bridge:a,script=x"], "--net must be user, bridge:NAME or none"],
    [["--qemu", "--net", `bridge:${"b".repeat(16)}`], "--net must be user, bridge:NAME or none"],
    [["--qemu=yes"], "--qemu takes no value"],
    [["--qemu", "--qemu"], "--qemu is given twice"],
  ])("%j", async (flags, sentence) => {
    const { code, message, hint } = await refused(["serve", "--store", "/nowhere", ...flags]);
    expect(message).toStartWith(sentence);
    expect(code).toBe("usage");
    expect(hint).toEndWith("See migrate serve --help");
  });
});

describe("the help", () => {
  test.each([
    [
      "send",
      [
        "--mode MODE",
        "--downtime-limit TIME",
        "--auto-converge on|off",
        "--multifd N",
        "migrate send qmp:PATH HOST:PORT [--mode live|stop] [FLAGS]",
      ],
    ],
    ["serve", ["--qemu", "--allow-tcg", "--net user|bridge:NAME|none"]],
  ])("of migrate %s names each flag about VMs that run, in 80 columns", async (command, texts) => {
    expect(await run(command, "--help")).toBe(0);
    const { stdout } = world.take();
    for (const text of texts) expect(stdout).toContain(text);
    const longest = Math.max(...stdout.split("\n").map((line) => line.length));
    expect(longest).toBeLessThanOrEqual(80);
  });
});

describe("--compress", () => {
  test("auto, off and every level from 1 to 19 are taken", () => {
    expect(parseCompression("auto")).toBe("auto");
    expect(parseCompression("off")).toBe("off");
    for (let level = 1; level <= 19; level++) expect(parseCompression(`${level}`)).toBe(level);
  });

  test("anything else is refused with a sentence that says what is possible", () => {
    for (const text of ["", "0", "20", "-1", "01", "1.5", "1e1", " 3", "3 ", "on", "AUTO", "zstd", "100"]) {
      const refusal = () => parseCompression(text);
      expect(refusal).toThrow(MigrateError);
      expect(refusal).toThrow(`must be auto, off or a level from 1 to 19, not "${text}"`);
    }
  });
});
