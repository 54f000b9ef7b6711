/** The compiled program where an attacker chose the environment and the folder that it runs in. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { ManInTheMiddle } from "../../support/hostile/man-in-the-middle.ts";
import { RawPeer } from "../../support/hostile/raw/peer.ts";
import { type MigrateProcess, runMigrate } from "../../support/system/process.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let root: string;
/** Where the programs run; its traps leave their traces in `sprung`. */
let cwd: string;
let sprung: string;
/** What would make a careless TLS client or server trust everybody. */
const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };

eachTestInFolder("migrate-hostile-", (made) => {
  root = made;
  cwd = join(root, "cwd");
  sprung = join(root, "sprung");
  for (const path of [cwd, sprung]) mkdirSync(path);
  const trap = `require("node:fs").writeFileSync(${JSON.stringify(sprung)} + "/" + process.pid + Math.random(), "");`;
  const settings = [
    `MIGRATE_HOME=${join(sprung, "home")}`,
    "NODE_TLS_REJECT_UNAUTHORIZED=0",
    "BUN_INSPECT=ws+unix:///x",
  ];
  for (const [name, text] of [
    [
      "bunfig.toml",
      'preload = ["./trap.ts"]\n[run]\npreload = ["./trap.ts"]\n[serve.static]\nplugins = ["./trap.ts"]\n',
    ],
    ["trap.ts", trap],
    ["door.worker.ts", trap],
    ["lane.worker.ts", trap],
    [".env", settings.join("\n")],
    [".env.local", settings.join("\n")],
    ["package.json", '{ "name": "x", "main": "trap.ts", "imports": { "#x": "./trap.ts" } }'],
    ["tsconfig.json", '{ "compilerOptions": { "paths": { "*": ["./trap.ts"] } } }'],
  ] as const)
    writeFileSync(join(cwd, name), text);
});

async function serve(): Promise<{ server: MigrateProcess; port: number; ticket: string }> {
  const server = runMigrate(["serve", "--listen", "127.0.0.1:0", "--store", join(root, "store"), "--json"], {
    home: join(root, "destination"),
    cwd,
    env,
  });
  const { address, ticket } = await server.waitFor("listening");
  return { server, port: Number(address.split(":")[1]), ticket: ticket! };
}

function send(port: number, ticket: string): MigrateProcess {
  const ram = join(root, "web1.ram");
  writeFileSync(ram, "the VM's memory");
  return runMigrate(
    [
      "send",
      "--name",
      "web1",
      "--ram",
      ram,
      `127.0.0.1:${port}`,
      "--ticket",
      ticket,
      "--json",
      "--retry-for",
      "1s",
    ],
    { home: join(root, "source"), cwd, env },
  );
}

describe("with NODE_TLS_REJECT_UNAUTHORIZED=0, a bunfig.toml and an .env", () => {
  test("a send to a man in the middle ends by the pin, before a word is said", async () => {
    const { server, port, ticket } = await serve();
    const man = await ManInTheMiddle.open(port, await makeIdentity());
    try {
      const source = send(man.port, ticket);
      const error = await source.waitFor("error");
      expect(error).toMatchObject({ code: "wrong-identity", side: "source" });
      expect((await source.exit).code).toBe(3);
      expect(man.overheard.toString("hex")).toBe("");
      expect(readFileSync(join(root, "web1.ram"), "utf8")).toBe("the VM's memory");
      expect(source.strayLines).toEqual([]);
    } finally {
      await man.close();
    }
    expect((await server.kill("SIGTERM")).code).toBe(0);
    expect(readdirSync(sprung)).toEqual([]);
  });

  test("a serve takes nothing from a stranger, with or without a certificate", async () => {
    const { server, port } = await serve();
    const bare = await RawPeer.connect({ port });
    expect((await bare.hello().error()).code).toBe("not-trusted");
    const stranger = await RawPeer.connect({ port, identity: await makeIdentity() });
    expect(await stranger.hello().expect("welcome")).toMatchObject({ trusted: false });
    expect((await stranger.send("list", {}).error()).code).toBe("protocol");
    bare.close();
    stranger.close();
    expect(readdirSync(join(root, "store"))).toEqual([".migrate-lock"]);
    expect((await server.kill("SIGTERM")).code).toBe(0);
    expect(readdirSync(sprung)).toEqual([]);
  });

  test("an honest VM arrives through the program's own Workers, and nothing of the folder has run", async () => {
    const { server, port, ticket } = await serve();
    const source = send(port, ticket);
    expect(await source.waitFor("done")).toMatchObject({ name: "web1", owner: "destination" });
    expect((await source.exit).code).toBe(0);
    expect(readFileSync(join(root, "store", "web1", "web1.ram"), "utf8")).toBe("the VM's memory");
    expect((await server.kill("SIGTERM")).code).toBe(0);
    expect(readdirSync(sprung)).toEqual([]);
    expect(existsSync(join(root, "source", "identity.pem"))).toBe(true);
  });
});
