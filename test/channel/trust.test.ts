import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { TrustFile } from "../../src/channel/trust.ts";
import type { MigrateError } from "../../src/protocol/errors.ts";
import { refusalOf } from "../support/system/refusals.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

const [a, b, c] = ["aa", "bb", "cc"].map((byte) => `sha256:${byte.repeat(32)}`) as [string, string, string];

let home: string;
let file: string;
eachTestInFolder("migrate-trust-", (made) => {
  home = made;
  file = join(home, "trust");
});

const write = (text: string) => writeFileSync(file, text, { mode: 0o600 });
const read = () => readFileSync(file, "utf8");

describe("reading the trust file", () => {
  test("an absent one trusts nobody and is not made", () => {
    const trust = TrustFile.load(home);
    expect(trust.peers()).toEqual([]);
    expect(trust.allows(a, "source")).toBe(false);
    expect(trust.nameOf(a)).toBeNull();
    expect(trust.knownDestination("web:7600")).toBeNull();
    expect(existsSync(file)).toBe(false);
  });

  test("takes what a person may write: blanks, tabs, comments, capitals, colons, no last line feed", () => {
    const colons = b
      .slice(7)
      .toUpperCase()
      .replace(/..(?=.)/g, "$&:");
    write(
      `# our hosts\n\n  ${a}\tsource   web-1 # rack 4 # left\r\n${colons} destination,source [::1]:7600\n${c} destination db:7600 #`,
    );
    expect(TrustFile.load(home).peers()).toEqual([
      { fingerprint: a, roles: ["source"], name: "web-1", comment: "rack 4 # left" },
      { fingerprint: b, roles: ["source", "destination"], name: "[::1]:7600" },
      { fingerprint: c, roles: ["destination"], name: "db:7600" },
    ]);
  });

  test("a peer may take the roles that stand there and no other", () => {
    write(`${a} source web\n${b} destination db:7600\n`);
    const trust = TrustFile.load(home);
    expect([trust.allows(a, "source"), trust.allows(a, "destination")]).toEqual([true, false]);
    expect([trust.allows(b, "source"), trust.allows(b, "destination")]).toEqual([false, true]);
    expect(trust.allows(c, "source")).toBe(false);
    expect(trust.nameOf(b)).toBe("db:7600");
    expect(trust.knownDestination("db:7600")).toBe(b);
    expect(trust.knownDestination("web")).toBeNull();
  });

  test("a commented-out peer is not trusted", () => {
    write(`#${a} source web\n`);
    expect(TrustFile.load(home).allows(a, "source")).toBe(false);
  });

  for (const [what, line] of [
    ["a short fingerprint", `${a.slice(0, -1)} source web`],
    ["another word first", `source ${a} web`],
    ["no roles", a],
    ["an unknown role", `${a} client web`],
    ["a role twice", `${a} source,source web`],
    ["an empty role", `${a} source, web`],
    ["no name", `${a} source`],
    ["a name that is a comment", `${a} source # web`],
    ["a word too many", `${a} source web 1`],
    ["a name that is a fingerprint", `${a} source ${b}`],
    ["a name that is too long", `${a} source ${"w".repeat(256)}`],
    ["a control character in the name", `${a} source web\x1b[31m`],
    ["one destination with two fingerprints", `${a} destination db:7600`],
  ] as const) {
    test(`is an error that names file and line for ${what}`, () => {
      write(`# comment\n${b} destination db:7600\n\n${line}\n`);
      const error = refusalOf(() => TrustFile.load(home));
      expect(error.code).toBe("not-trusted");
      expect(error.message).toStartWith(`${file}, line 4: `);
      expect(error.hint).toBeString();
    });
  }

  test("is refused when others could have written the file", () => {
    write(`${a} source web\n`);
    chmodSync(file, 0o662);
    expect(refusalOf(() => TrustFile.load(home)).code).toBe("home-unusable");
  });

  test("sees what a person changes while it runs, a removal above all", () => {
    write(`${a} source web\n`);
    const trust = TrustFile.load(home);
    expect(trust.allows(a, "source")).toBe(true);
    write(`${b} source web\n`);
    expect(trust.allows(a, "source")).toBe(false);
    expect(trust.allows(b, "source")).toBe(true);
    write("rubbish\n");
    expect(refusalOf(() => trust.allows(b, "source")).code).toBe("not-trusted");
    rmSync(file);
    expect(trust.allows(b, "source")).toBe(false);
  });

  test("what peers() gave can be changed without changing whom we trust", () => {
    write(`${a} source web\n`);
    const trust = TrustFile.load(home);
    trust.peers()[0]?.roles.push("destination");
    expect(trust.allows(a, "destination")).toBe(false);
  });
});

describe("adding to the trust file", () => {
  test("makes it, closed to others, with one readable line and nothing beside it", async () => {
    const trust = TrustFile.load(home);
    expect(await trust.add(a, "destination", "db:7600", "paired 2024-05-01")).toEqual([]);
    expect(read()).toBe(`${a} destination db:7600 # paired 2024-05-01\n`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(home).sort()).toEqual(["trust", "trust.lock"]);
    expect(trust.allows(a, "destination")).toBe(true);
    expect(TrustFile.load(home).peers()).toEqual(trust.peers());
  });

  test("merges roles into the line and keeps the comment it has", async () => {
    const trust = TrustFile.load(home);
    await trust.add(a, "destination", "db:7600", "first");
    await trust.add(a.toUpperCase(), "source", "db:7600", "second");
    expect(read()).toBe(`${a} source,destination db:7600 # first\n`);
  });

  test("keeps every other line as it was written", async () => {
    const before = `# ours\n\n   # ${b} source old  \n${a.toUpperCase()}   source\tweb   # rack 4\r\n`;
    write(before.slice(0, -1));
    const trust = TrustFile.load(home);
    await trust.add(c, "destination", "db:7600");
    expect(read()).toBe(`${before}${c} destination db:7600\n`);
    await trust.remove("db:7600");
    expect(read()).toBe(before);
  });

  test("of what is there already writes nothing", async () => {
    write(`${a.toUpperCase()}  source web`);
    const inode = statSync(file).ino;
    await TrustFile.load(home).add(a, "source", "web");
    expect(statSync(file).ino).toBe(inode);
    expect(read()).toBe(`${a.toUpperCase()}  source web`);
  });

  test("a destination under a second name keeps both", async () => {
    const trust = TrustFile.load(home);
    await trust.add(a, "destination", "db:7600");
    await trust.add(a, "destination", "10.0.0.9:7600");
    expect(trust.knownDestination("db:7600")).toBe(a);
    expect(trust.knownDestination("10.0.0.9:7600")).toBe(a);
    expect(trust.nameOf(a)).toBe("db:7600");
  });

  test("a destination under a known name takes the name over, and tells whose it was", async () => {
    write(`${a} source,destination db:7600 # kept\n${b} destination web:7600\n`);
    const trust = TrustFile.load(home);
    expect(await trust.add(c, "destination", "db:7600")).toEqual([
      { fingerprint: a, roles: ["source", "destination"], name: "db:7600", comment: "kept" },
    ]);
    expect(await trust.add(c, "destination", "web:7600")).toHaveLength(1);
    expect(read()).toBe(`${a} source db:7600 # kept\n${c} destination db:7600\n${c} destination web:7600\n`);
    expect(trust.knownDestination("db:7600")).toBe(c);
    expect(trust.allows(a, "destination")).toBe(false);
    expect(trust.allows(b, "destination")).toBe(false);
  });

  test("a source of the same name displaces nobody", async () => {
    write(`${a} destination db:7600\n`);
    const trust = TrustFile.load(home);
    expect(await trust.add(b, "source", "db:7600")).toEqual([]);
    expect(trust.knownDestination("db:7600")).toBe(a);
  });

  test("cannot smuggle in a line or a terminal sequence", async () => {
    const trust = TrustFile.load(home);
    await trust.add(a, "source", "web", `hello\n${b} source evil\r\x1b[2J\u009b`);
    expect(trust.peers()).toHaveLength(1);
    expect(read()).toBe(`${a} source web # hello ${b} source evil [2J\n`);
    for (const name of ["", "two words", `web\n${b}`, "web#1", "x".repeat(256), "\x1b[2J", b]) {
      expect(await trust.add(c, "source", name).catch((thrown: MigrateError) => thrown.code as unknown)).toBe(
        "usage",
      );
    }
    expect(
      await trust.add("web", "source", "web").catch((thrown: MigrateError) => thrown.code as unknown),
    ).toBe("usage");
    expect(trust.peers()).toHaveLength(1);
  });

  test("to a malformed file changes nothing", async () => {
    const trust = TrustFile.load(home);
    write("rubbish\n");
    const refused = await trust
      .add(a, "source", "web")
      .catch((thrown: MigrateError) => thrown.code as unknown);
    expect(refused).toBe("not-trusted");
    expect(read()).toBe("rubbish\n");
    expect(readdirSync(home).sort()).toEqual(["trust", "trust.lock"]);
  });

  test("by several writers at once loses nothing, in one process and in several", async () => {
    const module = JSON.stringify(resolve(import.meta.dir, "../../src/channel/trust.ts"));
    const script = (writer: number) => `
      import { TrustFile } from ${module};
      const trust = TrustFile.load(${JSON.stringify(home)});
      await Promise.all(Array.from({ length: 8 }, (_, n) =>
        trust.add("${String(writer).repeat(62)}" + String(n).padStart(2, "0"), "source", "host-${writer}-" + n)));`;
    const children = [1, 2, 3].map((writer) =>
      Bun.spawn([process.execPath, "-e", script(writer)], { stderr: "inherit" }),
    );
    expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0]);
    expect(
      new Set(
        TrustFile.load(home)
          .peers()
          .map(({ name }) => name),
      ).size,
    ).toBe(24);
    expect(readdirSync(home).sort()).toEqual(["trust", "trust.lock"]);
  });
});

describe("removing from the trust file", () => {
  const text = `# ours\n${a} source web\n${b} source,destination db:7600\n${a} destination web:7600\n`;

  test("by fingerprint in any spelling takes all of the peer's lines", async () => {
    write(text);
    const trust = TrustFile.load(home);
    const removed = await trust.remove(a.slice(7).toUpperCase());
    expect(removed.map(({ name }) => name)).toEqual(["web", "web:7600"]);
    expect(read()).toBe(`# ours\n${b} source,destination db:7600\n`);
    expect(trust.allows(a, "source") || trust.allows(a, "destination")).toBe(false);
  });

  test("by name takes the lines of that name", async () => {
    write(text);
    const removed = await TrustFile.load(home).remove("db:7600");
    expect(removed).toEqual([{ fingerprint: b, roles: ["source", "destination"], name: "db:7600" }]);
    expect(read()).toBe(`# ours\n${a} source web\n${a} destination web:7600\n`);
  });

  test("of nobody we know changes nothing", async () => {
    write(text);
    expect(await TrustFile.load(home).remove("nobody")).toEqual([]);
    expect(read()).toBe(text);
  });
});
