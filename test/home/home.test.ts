import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { migrateHome, openHome } from "../../src/home/home.ts";
import { refusalOf } from "../support/system/refusals.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-home-", (made) => {
  folder = made;
});

const modeOf = (path: string) => statSync(path).mode & 0o777;

const refusal = (path: string) => refusalOf(() => openHome(path));

describe("where the home is", () => {
  const user = 1000;
  test("MIGRATE_HOME comes first, for root too, and is made absolute", () => {
    expect(migrateHome({ MIGRATE_HOME: "/srv/m", XDG_STATE_HOME: "/x" }, 0)).toBe("/srv/m");
    expect(migrateHome({ MIGRATE_HOME: "m" }, user)).toBe(resolve("m"));
  });
  test("root's is /var/lib/migrate whatever XDG says", () => {
    expect(migrateHome({ XDG_STATE_HOME: "/x", HOME: "/root" }, 0)).toBe("/var/lib/migrate");
  });
  test("a user's is in the XDG state folder", () => {
    expect(migrateHome({ XDG_STATE_HOME: "/x", HOME: "/home/u" }, user)).toBe("/x/migrate");
    expect(migrateHome({ HOME: "/home/u" }, user)).toBe("/home/u/.local/state/migrate");
  });
  test("empty variables and a relative XDG_STATE_HOME count as unset", () => {
    const env = { MIGRATE_HOME: "", XDG_STATE_HOME: "state", HOME: "/home/u" };
    expect(migrateHome(env, user)).toBe("/home/u/.local/state/migrate");
  });
});

describe("opening the home", () => {
  test("makes it and its parents, closed to others", () => {
    const home = join(folder, "a/b/home");
    expect(openHome(home)).toBe(home);
    expect(modeOf(home)).toBe(0o700);
  });

  test("leaves nothing behind, and can be done again", () => {
    const home = join(folder, "home");
    openHome(home);
    openHome(home);
    expect(readdirSync(home)).toEqual([]);
  });

  test("closes an open one that is empty or has files of ours", () => {
    const home = join(folder, "home");
    mkdirSync(home);
    chmodSync(home, 0o755);
    openHome(home);
    expect(modeOf(home)).toBe(0o700);
    writeFileSync(join(home, "trust"), "");
    writeFileSync(join(home, "something else"), "");
    chmodSync(home, 0o777);
    openHome(home);
    expect(modeOf(home)).toBe(0o700);
  });

  test("refuses an open folder of other things and leaves its mode alone", () => {
    writeFileSync(join(folder, "passwd"), "");
    chmodSync(folder, 0o755);
    const refused = refusal(folder);
    expect(refused.code).toBe("home-unusable");
    expect(refused.message).toContain("open to other users");
    expect(refused.hint).toContain("MIGRATE_HOME");
    expect(modeOf(folder)).toBe(0o755);
  });

  test("follows a link to a folder of ours", () => {
    mkdirSync(join(folder, "disk"), { mode: 0o700 });
    symlinkSync(join(folder, "disk"), join(folder, "home"));
    expect(openHome(join(folder, "home"))).toBe(join(folder, "home"));
  });

  const makeFile = (at: string) => {
    writeFileSync(at, "");
    return at;
  };
  for (const [what, prepare] of [
    ["a file", makeFile],
    ["a link to a file", (path: string) => symlinkSync(makeFile(`${path}.file`), path)],
    ["a link to nothing", (path: string) => symlinkSync(join(folder, "nowhere"), path)],
    ["in a file", (path: string) => symlinkSync(`${makeFile(`${path}.file`)}/home`, path)],
  ] as const) {
    test(`refuses what is ${what}`, () => {
      const path = join(folder, "home");
      prepare(path);
      const refused = refusal(path);
      expect(refused.code).toBe("home-unusable");
      expect(refused.message).toContain(path);
      expect(refused.hint).toBeString();
    });
  }

  test("refuses one that cannot be made", () => {
    const refused = refusal("/proc/migrate-home");
    expect(refused.code).toBe("home-unusable");
    expect(refused.message).toContain("cannot be made");
  });

  // As another user, because root may write everywhere; whoever runs this otherwise is that user.
  test("refuses one that belongs to another user and one that cannot be written", async () => {
    const script = `
      import { chmodSync, mkdirSync } from "node:fs";
      import { openHome } from ${JSON.stringify(resolve(import.meta.dir, "../../src/home/home.ts"))};
      if (process.getuid() === 0) process.setuid(65534);
      mkdirSync(process.env.FOLDER + "/closed", { mode: 0o500 });
      for (const home of ["/proc/1/task", "/usr", process.env.FOLDER + "/closed"]) {
        try { openHome(home); console.log("opened"); } catch (error) { console.log(error.code, error.message); }
      }`;
    chmodSync(folder, 0o777);
    const env = { ...process.env, FOLDER: folder };
    const child = Bun.spawn([process.execPath, "-e", script], { env, stdout: "pipe", stderr: "inherit" });
    const [, theirs, closed] = (await child.stdout.text()).trim().split("\n");
    expect(theirs).toMatch(/^home-unusable The home folder \/usr belongs to another user \(uid 0\)/);
    expect(closed).toMatch(/^home-unusable .*cannot be written: permission denied/i);
    expect(await child.exited).toBe(0);
  });
});
