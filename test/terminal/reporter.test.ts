import { describe, expect, test } from "bun:test";
import type { MigrationEvent } from "../../src/migration/report/events.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import type { Output } from "../../src/terminal/output.ts";
import { makeReporter, type Reporter } from "../../src/terminal/reporter.ts";
import { Screen } from "./screen.ts";

interface Stage {
  reporter: Reporter;
  stdout: () => string;
  stderr: () => string;
  screen: Screen;
  writes: string[];
  clock: { nowMs: number };
  stalled: { bytes: number };
}

/** A reporter on a made-up process: both outputs are one screen where it is a terminal. */
function stage(options: { json?: boolean; isTTY?: boolean; columns?: number } = {}): Stage {
  const screen = new Screen(options.columns ?? 80);
  const clock = { nowMs: 1000 };
  const stalled = { bytes: 0 };
  const texts = { stdout: "", stderr: "" };
  const writes: string[] = [];
  const output = (name: "stdout" | "stderr"): Output => ({
    isTTY: options.isTTY ?? false,
    get queuedBytes() {
      return stalled.bytes;
    },
    write(text) {
      texts[name] += text;
      if (name === "stderr") writes.push(text);
      screen.write(text);
    },
    flush: async () => {},
  });
  const reporter = makeReporter({
    json: options.json ?? false,
    stdout: output("stdout"),
    stderr: output("stderr"),
    env: { TERM: "xterm", NO_COLOR: "1" },
    size: () => ({ columns: screen.columns, rows: 24 }),
    nowMs: () => clock.nowMs,
  });
  return { reporter, screen, writes, clock, stalled, stdout: () => texts.stdout, stderr: () => texts.stderr };
}

function progress(doneBytes: number, more: object = {}): MigrationEvent {
  const file = { file: "web1.ram", bytes: 1000, doneBytes };
  return {
    event: "progress",
    session: "s1",
    name: "web1",
    phase: "pre-copy",
    files: [file],
    bytes: 1000,
    doneBytes,
    wireBytes: doneBytes,
    savedBytes: 0,
    seconds: 1,
    ...more,
  };
}

const ram: MigrationEvent = {
  event: "ram",
  session: "s1",
  name: "web1",
  iteration: 2,
  remainingBytes: 1024,
  transferredBytes: 4096,
  totalBytes: 2048,
  dirtyBytesPerSec: 512,
  bandwidthBytesPerSec: 4096,
  expectedDowntimeMs: 250,
  throttlePercent: 0,
};

const done: MigrationEvent = {
  event: "done",
  session: "s1",
  name: "web1",
  side: "source",
  mode: "move",
  bytes: 1_342_177_280,
  wireBytes: 2048,
  chunksSent: 2,
  foundBytes: 0,
  repeatedBytes: 0,
  seconds: 4.2,
  digest: `sha256:${"ab".repeat(32)}`,
  owner: "destination",
  after: "rename",
};

describe("with --json", () => {
  test("every line of standard output is an object with an event, and standard error stays empty", async () => {
    const { reporter, stdout, stderr } = stage({ json: true, isTTY: true });
    reporter.observer(progress(1));
    reporter.observer(done);
    reporter.warn("careful\nnow");
    reporter.note("so");
    reporter.result({ event: "id", fingerprint: "f" }, "text");
    reporter.table("status", [{ title: "A", cell: () => "x" }], [{ a: 1 }, { a: 2 }], "none");
    reporter.fail(
      new MigrateError("no-room", "full", { side: "destination", phase: "prepare", hint: "free some" }),
    );
    await reporter.close();
    const events = stdout()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.map((event) => event.event)).toEqual([
      "progress",
      "done",
      "warning",
      "notice",
      "id",
      "status",
      "status",
      "error",
    ]);
    expect(events.at(-1)).toEqual({
      event: "error",
      code: "no-room",
      side: "destination",
      phase: "prepare",
      message: "full",
      hint: "free some",
    });
    expect(events[1]).toEqual(done);
    expect(stderr()).toBe("");
  });

  test("a failure that the observer has had is told once", () => {
    const { reporter, stdout } = stage({ json: true });
    reporter.observer({ event: "error", code: "network", side: "source", phase: "seal", message: "gone" });
    reporter.fail(new MigrateError("network", "gone"));
    expect(stdout().split("\n").length).toBe(2);
    reporter.fail(new MigrateError("network", "another"), { side: "source", phase: "begin" });
    expect(JSON.parse(stdout().split("\n")[1] ?? "")).toMatchObject({
      side: "source",
      phase: "begin",
      message: "another",
    });
  });

  test("a reader that does not keep up loses progress, and nothing else", () => {
    const { reporter, stdout, stalled } = stage({ json: true });
    stalled.bytes = 2 * 1024 * 1024;
    reporter.observer(progress(1));
    reporter.observer(ram);
    reporter.observer(done);
    expect(stdout()).toBe(`${JSON.stringify(done)}\n`);
  });
});

describe("without a terminal", () => {
  test("what was indexed is told where anything was read, and what was there already where there was any", () => {
    const { reporter, stdout, stderr } = stage();
    reporter.observer({ event: "indexed", files: 0, blocks: 0, bytesRead: 0, seconds: 0.01 });
    reporter.observer({ event: "indexed", files: 2, blocks: 32, bytesRead: 2 ** 21, seconds: 1.5 });
    expect(stderr()).toBe("Indexed 2 files of the store: 2.0 MiB read in 1.5 s\n");
    reporter.observer(done);
    expect(stdout()).not.toContain("already");
    reporter.observer({ ...done, foundBytes: 2 ** 20, repeatedBytes: 2 ** 21 });
    expect(stdout()).toContain("  1.0 MiB (1,048,576 bytes) were at the destination already\n");
    expect(stdout()).toContain("  2.0 MiB (2,097,152 bytes) are in the VM more than once\n");
  });

  test("phases, and progress every five seconds, are plain lines on standard error", () => {
    const { reporter, stdout, stderr, clock } = stage();
    reporter.observer({ event: "phase", session: "s1", name: "web1", phase: "pre-copy" });
    for (let step = 0; step <= 100; step += 1) {
      reporter.observer(progress(step, { seconds: step / 10 }));
      clock.nowMs += 100;
    }
    reporter.observer({ event: "phase", session: "s1", name: "web1", phase: "seal" });
    const lines = stderr().trimEnd().split("\n");
    expect(lines.map((line) => line.split(",")[0])).toEqual([
      "web1: pre-copy",
      "web1: pre-copy",
      "web1: pre-copy",
      "web1: seal",
    ]);
    expect(stderr()).not.toContain("\u001b");
    expect(stdout()).toBe("");
  });

  test("the result is on standard output, with what became of the VM", () => {
    const { reporter, stdout } = stage();
    reporter.observer(done);
    expect(stdout()).toBe(
      [
        "web1 moved. Its owner is the destination.",
        "  1.3 GiB (1,342,177,280 bytes) in 4.2 s (304.8 MiB/s)",
        "  2.0 KiB (2,048 bytes) on the wire",
        `  digest sha256:${"ab".repeat(32)}, checked by both sides`,
        "  The source's files now end in .migrated.",
        "",
        "",
      ].join("\n"),
    );
  });

  test("one trouble of the network is told once, whichever connections it ends", () => {
    const { reporter, stderr } = stage();
    const link = { event: "link", session: "s1", name: "web1", message: "reset" } as const;
    reporter.observer({ ...link, state: "lost", attempt: 1, retryInMs: 200 });
    reporter.observer({ ...link, state: "lost", attempt: 0, retryInMs: 0 });
    reporter.observer({ ...link, state: "restored", attempt: 2, retryInMs: 0 });
    reporter.observer({ ...link, state: "restored", attempt: 0, retryInMs: 0 });
    reporter.observer({ ...link, state: "lost", attempt: 0, retryInMs: 0 });
    expect(stderr()).toBe(
      [
        "warning: web1: link lost (reset), trying again in 200 ms (attempt 1)",
        "web1: the link is back",
        "warning: web1: link lost (reset), trying again",
        "",
      ].join("\n"),
    );
  });

  test("an error says what happened, on which side, in which phase, and what to do", () => {
    const { reporter, stderr } = stage();
    const hint = "free some\nor ask";
    reporter.fail(
      new MigrateError("no-room", "no\u001b room", { side: "destination", phase: "prepare", hint }),
    );
    expect(stderr()).toBe(
      "error: no? room (on the destination, in prepare, code no-room)\n  free some\n  or ask\n",
    );
  });

  test("serve's command line stands alone on its line", () => {
    const { reporter, stdout } = stage();
    const listening: MigrationEvent = {
      event: "listening",
      address: "127.0.0.1:7",
      addresses: ["127.0.0.1:7"],
      fingerprint: "sha256:00",
      ticket: "t",
      command: "migrate send VM x",
      store: "/srv",
      delivers: [
        { what: "VMs, a folder each", path: "/srv" },
        { what: "sockets", path: "/var/lib/migrate/run" },
      ],
      insecure: false,
      qemu: false,
      libvirt: false,
    };
    reporter.observer(listening);
    expect(stdout().split("\n")).toContain("  migrate send VM x");
    expect(stdout()).not.toContain("qmp:");
    expect(stdout().split("\n")).toContain("Delivers to /srv: VMs, a folder each");
    expect(stdout().split("\n")).toContain("Delivers to /var/lib/migrate/run: sockets");
    reporter.observer({ ...listening, qemu: true });
    expect(stdout()).toContain(
      "with qmp:PATH of a VM that runs, or the folder of one that does not, for VM:",
    );
  });

  test("a table with no rows says so", () => {
    const { reporter, stdout } = stage();
    reporter.table("status", [], [], "Nothing here.");
    expect(stdout()).toBe("Nothing here.\n");
  });
});

describe("on a terminal", () => {
  const bars = (at: string) => [
    "web1: pre-copy",
    expect.stringContaining("web1.ram"),
    expect.stringContaining(at),
  ];

  test("the bars are redrawn in place, at most ten times a second", () => {
    const { reporter, screen, writes, clock } = stage({ isTTY: true });
    for (let step = 0; step < 1000; step += 1) {
      reporter.observer(progress(step));
      clock.nowMs += 1;
    }
    expect(writes.length).toBeLessThanOrEqual(10);
    expect(screen.seen()).toEqual(bars("900 B of 1000 B"));
  });

  test("lines are printed above the bars, whichever output they go to", async () => {
    const { reporter, screen } = stage({ isTTY: true });
    reporter.observer(progress(500));
    reporter.warn("careful");
    reporter.result({ event: "x" }, "a result");
    expect(screen.seen()).toEqual(["warning: careful", "a result", ...bars("500 B of 1000 B")]);
    await reporter.close();
    expect(screen.seen()).toEqual(["warning: careful", "a result"]);
  });

  test("a terminal made narrower while bars are on it leaves no debris", () => {
    const { reporter, screen, clock } = stage({ isTTY: true });
    reporter.observer(progress(100));
    screen.narrow(30);
    clock.nowMs += 200;
    reporter.observer(progress(200));
    expect(screen.seen()).toEqual([
      "web1: pre-copy",
      expect.stringContaining("web1.ram"),
      expect.stringContaining("total"),
    ]);
  });

  test("bars go when the session is done, and the summary stays", () => {
    const { reporter, screen } = stage({ isTTY: true });
    reporter.observer(progress(1000));
    reporter.observer(done);
    expect(screen.seen()[0]).toBe("web1 moved. Its owner is the destination.");
    expect(screen.seen().join("\n")).not.toContain("total");
  });
});
