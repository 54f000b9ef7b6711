import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type ProcessId, processId } from "../../../src/platform/process-id.ts";
import { UnixListener } from "../../../src/platform/unix-listener.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let home: string;
eachTestInFolder("migrate-run-", (made) => {
  home = made;
});

const me = () => processId(process.pid)!;
/** This process's pid at another time: a process that has ended. */
const ended = (): ProcessId => ({ pid: process.pid, startTicks: me().startTicks - 1 });

function made(name = "web1"): RunFolder {
  const run = RunFolder.at(home, name);
  run.make("session-1");
  return run;
}

describe("the path", () => {
  test("is below the home, and nothing is made before make, which closes it to others", () => {
    const run = RunFolder.at(home, "web1");
    expect(run.path).toBe(join(home, "run", "web1"));
    expect(existsSync(join(home, "run"))).toBe(false);
    run.make("session-1");
    expect(statSync(run.path).mode & 0o777).toBe(0o700);
    expect(statSync(join(home, "run")).mode & 0o777).toBe(0o700);
  });

  test("of what is no name of a VM is refused", () => {
    for (const name of ["", "..", "a/b", "-x", "a\nb"]) {
      expect(refusalOf(() => RunFolder.at(home, name)).code).toBe("name-invalid");
    }
  });

  test("is refused where a socket in it would be too long, without telling a peer where the home is", () => {
    const room = 107 - 40 - 1 - `${home}/run/`.length;
    expect(Buffer.byteLength(RunFolder.at(home, "a".repeat(room)).socket("s".repeat(40)))).toBe(107);
    for (const name of ["a".repeat(room + 1), "é".repeat(room / 2 + 1)]) {
      const error = refusalOf(() => RunFolder.at(home, name));
      expect(error.code).toBe("home-unusable");
      expect(error.hint).toContain("MIGRATE_HOME");
      expect(error.message).not.toContain("/");
    }
  });
});

describe("names in it", () => {
  test("are plain, short and none of ours, since they may come from a peer", () => {
    const run = made();
    expect(run.socket("serial-0.sock_1")).toBe(join(run.path, "serial-0.sock_1"));
    const wrong = ["", ".", "..", ".x", "-x", "a/b", "a b", "a,b", "a\0", "é", "a".repeat(41)];
    for (const name of [...wrong, "processes.json", "qemu.log", "swtpm.log"]) {
      expect(refusalOf(() => run.socket(name)).code).toBe("name-invalid");
      expect(refusalOf(() => run.link(name, "/")).code).toBe("name-invalid");
    }
  });

  test("lead where they are told, and elsewhere once they are told again, with nothing left beside them", () => {
    const run = made();
    const path = run.link("disk", "/somewhere/first");
    expect(path).toBe(join(run.path, "disk"));
    expect(readlinkSync(path)).toBe("/somewhere/first");
    run.link("disk", "/somewhere/second");
    expect(readlinkSync(path)).toBe("/somewhere/second");
    expect(readdirSync(run.path).sort()).toEqual(["disk", "processes.json"]);
    expect(refusalOf(() => run.link("disk", "relative")).code).toBe("bug");
  });

  test("that cannot be replaced leave nothing beside them either", () => {
    const run = made();
    mkdirSync(run.socket("disk"));
    expect(() => run.link("disk", "/somewhere")).toThrow();
    expect(readdirSync(run.path).sort()).toEqual(["disk", "processes.json"]);
  });
});

describe("what is noted", () => {
  test("is read by the next process, and closed to others", () => {
    const run = made();
    expect(run.noted()).toEqual({ session: "session-1", qemu: null, swtpm: null });
    run.note("swtpm", { pid: 11, startTicks: 22 });
    run.note("qemu", me());
    expect(RunFolder.at(home, "web1").noted()).toEqual({
      session: "session-1",
      qemu: me(),
      swtpm: { pid: 11, startTicks: 22 },
    });
    expect(statSync(join(run.path, "processes.json")).mode & 0o777).toBe(0o600);
    expect(readdirSync(run.path)).toEqual(["processes.json"]);
  });

  test("is nothing where there is no folder, or the text is damaged", () => {
    const run = RunFolder.at(home, "web1");
    expect(run.noted()).toBeNull();
    expect(refusalOf(() => run.note("qemu", me())).code).toBe("home-unusable");
    run.make("session-1");
    writeFileSync(join(run.path, "processes.json"), '{"session":"s"');
    expect(run.noted()).toBeNull();
    writeFileSync(join(run.path, "processes.json"), '{"session":"s","qemu":{"pid":-1,"startTicks":1}}');
    expect(run.noted()).toBeNull();
  });

  test("of processes is forgotten when the system was started anew, since pids and times begin again", () => {
    const run = made();
    run.note("qemu", me());
    const path = join(run.path, "processes.json");
    const text = readFileSync(path, "utf8");
    const { bootId } = JSON.parse(text) as { bootId: string };
    expect(bootId).toMatch(/^[0-9a-f-]{36}$/);
    writeFileSync(path, text.replace(bootId, "00000000-0000-0000-0000-000000000000"));
    expect(run.noted()).toEqual({ session: "session-1", qemu: null, swtpm: null });
    run.make("session-2");
  });
});

describe("making it again", () => {
  test("removes what ended processes left behind, but not what links lead to", () => {
    const kept = join(home, "disk.raw");
    writeFileSync(kept, "data");
    const run = made();
    run.note("qemu", ended());
    run.link("disk", kept);
    run.link("folder", home);
    writeFileSync(run.socket("serial"), "");
    run.make("session-2");
    expect(readdirSync(run.path)).toEqual(["processes.json"]);
    expect(run.noted()).toEqual({ session: "session-2", qemu: null, swtpm: null });
    expect(readFileSync(kept, "utf8")).toBe("data");
  });

  test("is refused while one of its processes runs, and leaves everything as it was", () => {
    for (const what of ["qemu", "swtpm"] as const) {
      const run = made(what);
      run.note(what, me());
      expect(refusalOf(() => run.make("session-2")).code).toBe("name-taken");
      expect(run.noted()?.session).toBe("session-1");
    }
  });

  test("is refused while a process that nobody noted listens on the QMP socket", () => {
    const run = made();
    const listener = UnixListener.listen(run.socket("qmp"));
    try {
      expect(refusalOf(() => run.make("session-2")).code).toBe("name-taken");
    } finally {
      listener.close();
    }
    run.make("session-2");
  });

  test("is refused where what was noted cannot be read: a VM might run", () => {
    const run = made();
    writeFileSync(join(run.path, "processes.json"), "damaged");
    const error = refusalOf(() => run.make("session-2"));
    expect(error.code).toBe("home-unusable");
    expect(error.message).not.toContain("/");
    run.remove();
    run.make("session-2");
  });

  test("is an error that names no path where the home cannot hold it", () => {
    writeFileSync(join(home, "run"), "a file");
    const error = refusalOf(() => made());
    expect(error.code).toBe("home-unusable");
    expect(error.message).not.toContain("/");
  });
});

describe("removing and listing", () => {
  test("removes it once and for all, and again without an error", () => {
    const run = made();
    run.remove();
    expect(existsSync(run.path)).toBe(false);
    run.remove();
  });

  test("lists what make made, by name, and nothing else", () => {
    expect(RunFolder.all(home)).toEqual([]);
    for (const name of ["web2", "web1"]) made(name);
    mkdirSync(join(home, "run", ".hidden"));
    mkdirSync(join(home, "run", "x".repeat(100)));
    expect(RunFolder.all(home).map(({ path }) => path)).toEqual(
      ["web1", "web2"].map((name) => join(home, "run", name)),
    );
  });
});
