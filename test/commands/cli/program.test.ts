import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CommandGroup, defineCommand } from "../../../src/commands/cli/define-command.ts";
import { optional } from "../../../src/commands/cli/option.ts";
import { runProgram } from "../../../src/commands/cli/program.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { commandTree, eachTestHasWorld, type TestWorld } from "../world.ts";

const failing = defineCommand({
  name: "migrate failing",
  summary: "fail as told",
  options: { code: optional("CODE", "How") },
  examples: [["migrate failing", "fails"]],
  side: "source",
  async run({ options }) {
    if (options.code === undefined) throw new TypeError("undefined is not a function");
    throw new MigrateError("network", "the link is gone", { phase: "seal", hint: "Try again." });
  },
});

const tree: CommandGroup = {
  name: "migrate",
  summary: "move VMs",
  commands: {
    failing: async () => failing,
    ...commandTree("id", "trust", "doctor", "send", "serve", "status", "resolve", "history", "verify", "demo")
      .commands,
  },
};

let world: TestWorld;
eachTestHasWorld((made) => {
  world = made;
});

const run = (...words: string[]) => runProgram(tree, words, world);

describe("the tree", () => {
  test.each([[[]], [["--help"]], [["-h"]], [["help"]]])("%j shows the commands", async (words) => {
    expect(await run(...words)).toBe(0);
    const { stdout, stderr } = world.take();
    for (const name of Object.keys(tree.commands)) expect(stdout).toContain(`\n  ${name} `);
    expect(stderr).toBe("");
  });

  test("a group of commands shows its own", async () => {
    expect(await run("trust")).toBe(0);
    expect(world.take().stdout).toContain("\n  remove ");
  });

  test("--version names version and commit, as text and as JSON", async () => {
    expect(await run("--version")).toBe(0);
    expect(world.take().stdout).toMatch(/^migrate \d+\.\d+\.\d+ \(.+\)\n$/);
    expect(await run("--version", "--json")).toBe(0);
    expect(world.takeEvents()).toEqual([
      { event: "version", name: "migrate", version: expect.any(String), commit: expect.any(String) },
    ]);
    expect(await run("--version", "--jsno")).toBe(2);
  });

  test.each([
    [["sned"], "Did you mean migrate send?"],
    [["trust", "lst"], "Did you mean migrate trust list?"],
    [["--verison"], "Unknown flag --verison"],
    [["constructor"], 'Unknown command "constructor"'],
    [["id", "extra"], 'Unexpected argument "extra"'],
    [["id", "--seel"], "Did you mean --seal?"],
    [["send", "vm"], "HOST:PORT is missing"],
    [["send", "--ram", "x", "h:1"], "--name is missing"],
    [["send", "vm", "h:1", "--name", "x"], "A VM is given by its folder or by its files, not both"],
    [["send", "vm", "h:1", "--copy", "--after", "delete"], "--copy and --after exclude each other"],
    [["send", "vm", "h:1", "--insecure", "--ticket", "t"], "--insecure and --ticket exclude each other"],
    [["send", "vm", "h:x"], 'HOST:PORT must be HOST:PORT, not "h:x"'],
    [["send", "vm", "h:1", "--compress", "20"], "--compress must be auto, off or a level from 1 to 19"],
    [["send", "vm", "h:1", "--base", "../golden"], "--base is no name of a VM"],
    [["serve"], "--store is missing"],
    [["serve", "--store", "x", "--index", "maybe"], '--index must be one of on, off, not "maybe"'],
    [
      ["serve", "--store", "x", "--ticket-ttl", "soon"],
      '--ticket-ttl cannot be read: "soon" is not a duration',
    ],
    [["serve", "--store", "x", "--ticket-ttl", "0s"], '--ticket-ttl must be from 1000 ms to 168 h, not "0s"'],
    [["serve", "--store", "x", "--max-sessions", "0"], "--max-sessions must be a whole number from 1 to 256"],
    [["serve", "--store", "x", "--profile-port", "y"], "--profile-port must be a whole number"],
    [["status", "--insecure"], "--insecure needs a HOST:PORT"],
    [["resolve", "x", "--cancel", "--owner", "source"], "--owner and --cancel exclude each other"],
    [["resolve", "x", "--owner", "me"], "--owner must be one of source, destination"],
  ])("%j is refused with exit code 2 and a sentence", async (words, sentence) => {
    expect(await run(...words)).toBe(2);
    const { stdout, stderr } = world.take();
    expect(stderr).toStartWith("error: ");
    expect(stderr).toContain(sentence);
    expect(stdout).toBe("");
  });

  test("a refusal is an event with --json", async () => {
    expect(await run("send", "vm", "--json")).toBe(2);
    expect(world.takeEvents()).toEqual([
      {
        event: "error",
        code: "usage",
        side: "source",
        phase: "begin",
        message: "HOST:PORT is missing",
        hint: expect.any(String),
      },
    ]);
    expect(await run("--json", "id")).toBe(2);
    expect(world.takeEvents()[0]).toMatchObject({ code: "usage", message: "Flags stand behind the command" });
    expect(await run("sned", "--json")).toBe(2);
    expect(world.takeEvents()[0]).toMatchObject({ event: "error", code: "usage" });
  });

  test("a failure tells its code and side, and ends with its exit code", async () => {
    expect(await run("failing", "--code", "x", "--json")).toBe(4);
    expect(world.takeEvents()).toEqual([
      {
        event: "error",
        code: "network",
        side: "source",
        phase: "seal",
        message: "the link is gone",
        hint: "Try again.",
      },
    ]);
    expect(await run("failing", "--code", "x")).toBe(4);
    expect(world.take().stderr).toBe(
      "error: the link is gone (on the source, in seal, code network)\n  Try again.\n",
    );
  });

  test("what is no error of ours is a bug, in one line, with its stack only where it is asked for", async () => {
    expect(await run("failing")).toBe(1);
    expect(world.take().stderr).toBe(
      "error: a bug in migrate: undefined is not a function (on the source, in begin, code bug)\n",
    );
    world.env.MIGRATE_DEBUG = "1";
    expect(await run("failing")).toBe(1);
    expect(world.take().stderr).toContain("program.test.ts");
  });
});

describe("id", () => {
  test("the same fingerprint each time, alone on standard output", async () => {
    expect(await run("id")).toBe(0);
    const first = world.take();
    expect(first.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(first.stderr).toBe("");
    await run("id", "--json");
    expect(world.takeEvents()).toEqual([
      {
        ...{ event: "id", fingerprint: first.stdout.trim(), sealed: false, keeper: "file" },
        home: join(world.folder, "home"),
      },
    ]);
  });

  test("sealing and unsealing with a passphrase file keep the fingerprint", async () => {
    const secret = join(world.folder, "secret");
    writeFileSync(secret, "correct horse\n", { mode: 0o600 });
    await run("id");
    const fingerprint = world.take().stdout;
    expect(await run("id", "--seal", "--passphrase-file", secret)).toBe(0);
    expect(world.take().stdout).toBe(fingerprint);
    const identity = join(world.folder, "home", "identity.pem");
    expect(readFileSync(identity, "utf8")).not.toContain("BEGIN PRIVATE KEY");
    expect(await run("id", "--seal", "--passphrase-file", secret)).toBe(6);
    writeFileSync(secret, "wrong\n");
    expect(await run("id", "--unseal", "--passphrase-file", secret)).toBe(3);
    writeFileSync(secret, "correct horse\n");
    expect(await run("id", "--unseal", "--passphrase-file", secret, "--json")).toBe(0);
    expect(world.takeEvents().at(-1)).toMatchObject({ sealed: false, fingerprint: fingerprint.trim() });
    expect(statSync(identity).mode & 0o777).toBe(0o600);
  }, 60_000);

  test("without a terminal and a file, sealing says what is missing", async () => {
    expect(await run("id", "--seal")).toBe(2);
    expect(world.take().stderr).toContain("--passphrase-file");
    expect(await run("id", "--unseal")).toBe(6);
    expect(await run("id", "--seal", "--unseal")).toBe(2);
  });
});

describe("trust", () => {
  const fingerprint = `sha256:${"ab".repeat(32)}`;

  test("a host is added, listed and removed by its name", async () => {
    expect(await run("trust", "list")).toBe(0);
    expect(world.take().stdout).toContain("trusts nobody yet");
    expect(
      await run(
        "trust",
        "add",
        fingerprint,
        "rack-2:7600",
        "--role",
        "destination",
        "--comment",
        "the new one",
      ),
    ).toBe(0);
    expect(world.take().stdout).toBe("rack-2:7600 is trusted as destination\n");
    expect(await run("trust", "add", fingerprint, "rack-2:7600", "--role", "source")).toBe(0);
    world.take();
    expect(await run("trust", "list", "--json")).toBe(0);
    expect(world.takeEvents()).toEqual([
      {
        event: "peer",
        fingerprint,
        roles: ["source", "destination"],
        name: "rack-2:7600",
        comment: "the new one",
      },
    ]);
    expect(await run("trust", "remove", "rack-2:7600")).toBe(0);
    expect(world.take().stdout).toContain("is trusted no more");
    expect(await run("trust", "list", "--json")).toBe(0);
    expect(world.takeEvents()).toEqual([]);
  });

  test("a name that leads to another host is told of, and a name that is unknown is suggested", async () => {
    await run("trust", "add", fingerprint, "rack-2:7600");
    world.take();
    expect(
      await run("trust", "add", `sha256:${"cd".repeat(32)}`, "rack-2:7600", "--role", "destination"),
    ).toBe(0);
    expect(world.take().stderr).toContain(`rack-2:7600 led to ${fingerprint} before`);
    expect(await run("trust", "remove", "rack-2:760")).toBe(3);
    expect(world.take().stderr).toContain("Did you mean rack-2:7600?");
    expect(await run("trust", "add", "sha256:00", "x")).toBe(2);
  });
});

describe("doctor", () => {
  test("on a sound host each check has a state and a sentence, and the store is looked at", async () => {
    const store = join(world.folder, "store");
    mkdirSync(store);
    expect(await run("doctor", "--store", store, "--json")).toBe(0);
    const checks = world.takeEvents();
    const names = checks.map((check) => check.check);
    for (const name of ["home", "identity", "clock", "qemu", "kvm", "swtpm", "store", "holes", "room"])
      expect(names).toContain(name);
    for (const check of checks) {
      expect(check.event).toBe("check");
      expect(["ok", "warning"]).toContain(check.state as string);
      if (check.state !== "ok") expect(check.help).toBeString();
    }
  });

  test("a store that serve would make is no problem, as in the example", async () => {
    const store = join(world.folder, "none", "vms");
    expect(await run("doctor", "--store", store)).toBe(0);
    expect(world.take().stdout).toMatch(/^ok +store +There is no .*vms yet: migrate serve makes it$/m);
  });

  test("a store that cannot be made and a damaged identity are problems, with what helps", async () => {
    const home = join(world.folder, "home");
    mkdirSync(home, { mode: 0o700 });
    writeFileSync(join(home, "identity.pem"), "nonsense", { mode: 0o600 });
    expect(await run("doctor", "--store", join(home, "identity.pem", "vms"))).toBe(6);
    const { stdout } = world.take();
    expect(stdout).toMatch(/^problem +identity /m);
    expect(stdout).toMatch(/^problem +store +There is no .*vms, and .*identity.pem cannot be written\n +\S/m);
  });

  test("a home that is open to others and not ours alone is a problem", async () => {
    const home = join(world.folder, "home");
    mkdirSync(home);
    writeFileSync(join(home, "foreign"), "");
    chmodSync(home, 0o755);
    expect(await run("doctor", "--json")).toBe(6);
    expect(world.takeEvents().find((check) => check.check === "home")).toMatchObject({ state: "problem" });
  });
});
