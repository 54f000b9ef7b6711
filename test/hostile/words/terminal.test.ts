/** What a hostile peer says, as the compiled program shows it: nothing of it moves a cursor. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { HostileDestination, type Script } from "../../support/hostile/hostile-destination.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { RawPeer } from "../../support/hostile/raw/peer.ts";
import { runMigrate } from "../../support/system/process.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

/** A title, a cleared screen, a colour in C1, a bell, a carriage return, text turned around, a line end. */
const nasty = "\u001b]0;owned\u0007\u001b[2J\u009b31m\r\u0008ok\u202egpj\u2028x\u0000y\u007f\n";
const unfit = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

let root: string;
const open: HostileDestination[] = [];

eachTestInFolder("migrate-hostile-", (made) => {
  root = made;
  return async () => {
    for (const destination of open.splice(0)) await destination.close();
  };
});

async function hostile(control: Script): Promise<HostileDestination & { home: string }> {
  const identity = await makeIdentity();
  const destination = await HostileDestination.open({ identity, control });
  open.push(destination);
  const home = join(root, "source");
  const place = `127.0.0.1:${destination.address.port}`;
  await TrustFile.load(openHome(home)).add(identity.fingerprint, "destination", place);
  return Object.assign(destination, { home });
}

describe.each([[[]], [["--json"]]])("what a hostile destination says (%j)", (json) => {
  test.each<[string, Script]>([
    ["by ERROR", async ({ peer }) => void peer.sendJson("error", { code: "policy", message: nasty })],
    [
      "by an ERROR whose code is none",
      async ({ peer }) => void peer.sendJson("error", { code: nasty.slice(0, 20), message: nasty }),
    ],
    [
      "by a WELCOME that is wrong",
      async ({ peer }) => void peer.sendJson("welcome", { version: 2, software: nasty, trusted: nasty }),
    ],
    [
      "by a version that is text",
      async ({ peer }) => void peer.sendJson("welcome", { version: nasty, software: "x", trusted: true }),
    ],
  ])("%s shows nothing of it", async (_what, control) => {
    const { address, ticket, home } = await hostile(control);
    const ram = join(root, "web1.ram");
    writeFileSync(ram, "x");
    const to = `127.0.0.1:${address.port}`;
    const source = runMigrate(["send", "--name", "web1", "--ram", ram, to, "--ticket", ticket!, ...json], {
      home,
    });
    const { code } = await source.exit;
    expect(code).toBe(6);
    expect(source.stdout() + source.stderr()).not.toMatch(unfit);
    expect((source.stdout() + source.stderr()).split("\n").length).toBeLessThan(10);
  });

  test("in its list of sessions shows nothing of it", async () => {
    const { address, home } = await hostile(async ({ peer }) => {
      peer.send("welcome", { version: 2, software: "x", trusted: true });
      await peer.expect("list");
      const row = {
        mode: "move",
        state: "ready",
        bytes: 1,
        doneBytes: 2 ** 43,
        createdAtMs: 2 ** 53 - 1,
        updatedAtMs: 0,
      };
      const session = "0".repeat(32);
      peer.sendJson("sessions", { rows: [{ ...row, session, name: nasty, phase: nasty.slice(0, 20) }] });
      await peer.closed;
    });
    const status = runMigrate(["status", `127.0.0.1:${address.port}`, ...json], { home });
    expect((await status.exit).code).toBe(0);
    expect(status.stdout()).toContain("0".repeat(32));
    expect(status.stdout() + status.stderr()).not.toMatch(unfit);
  });

  test("from sources shows nothing of it on the destination's screen", async () => {
    const home = join(root, "destination");
    const identity = await makeIdentity();
    await TrustFile.load(openHome(home)).add(identity.fingerprint, "source", "a-source");
    const server = runMigrate(["serve", "--listen", "127.0.0.1:0", "--store", join(root, "store"), ...json], {
      home,
    });
    const port = await new Promise<number>((resolve) => {
      const timer = setInterval(() => {
        const found = /127\.0\.0\.1:(\d+)/.exec(server.stdout());
        if (found === null) return;
        clearInterval(timer);
        resolve(Number(found[1]));
      }, 10);
    });
    const said: [string, unknown][] = [
      ["hello", { version: 2, role: nasty, software: nasty }],
      ["hello", { version: nasty, role: "control", software: "x" }],
      ["offer", { name: nasty, mode: nasty }],
      ["offer", nasty],
      ["error", { code: "policy", message: nasty }],
      ["cancel", nasty],
    ];
    for (const [name, body] of said) {
      const peer = await RawPeer.connect({ port, identity });
      if (name !== "hello") await peer.join({ session: "0".repeat(32) });
      peer.sendJson(name as "hello", body);
      await peer.ended();
      peer.close();
    }
    expect((await server.kill("SIGTERM")).code).toBe(0);
    expect(server.stdout() + server.stderr()).not.toMatch(unfit);
    expect(server.stdout() + server.stderr()).toContain("hello.role");
  });
});
