/** `migrate tune` of a suspended VM's move: its bandwidth changes on the way, and nothing else of it can. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callMove } from "../../src/migration/operator/call-move.ts";
import type { Tuning } from "../../src/migration/report/tuning.ts";
import { controlLineBytes, controlPath } from "../../src/migration/source/control-messages.ts";
import { openControl } from "../../src/migration/source/control-socket.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import type { EventNamed, MigrateProcess } from "../support/system/process.ts";

const mebibyte = 1024 ** 2;
let root: string;
let hosts: TwoHosts;

eachTestHasHosts("tune-", (made) => {
  ({ root, hosts } = made);
});

/** A move that takes a minute as it is, some way on its way. */
async function slowMove(): Promise<{ send: MigrateProcess; session: string }> {
  const bytes = 64 * mebibyte;
  const big = makeSmallVm(join(root, "big"), { ram: { bytes, extents: [{ at: 0, bytes }] }, disks: [] });
  await hosts.serve();
  const send = hosts.send(big.folder, ["--bandwidth", "1M", "--streams", "2", "--timeout", "1h"]);
  const { session } = await send.waitFor("session");
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  return { send, session };
}

test("a move goes as fast as it is told to on its way, by the VM's name or the session's beginning", async () => {
  const { send, session } = await slowMove();
  const before = hosts.source(["status"]);
  await before.exit;
  expect(before.events).toContainEqual(
    expect.objectContaining({
      event: "status",
      session,
      move: expect.objectContaining({
        tuning: { bandwidthBytesPerSec: mebibyte },
        onTimeout: "cancel",
      }),
    }),
  );
  const tune = hosts.source(["tune", "big", "--bandwidth", "2M"]);
  expect(await tune.exit).toMatchObject({ code: 0 });
  expect(tune.events.at(-1)).toMatchObject({ event: "tuned", session, bandwidthBytesPerSec: 2 * mebibyte });
  await send.waitFor("tuned", { where: ({ bandwidthBytesPerSec }) => bandwidthBytesPerSec === 2 * mebibyte });
  const atMs = performance.now();
  expect(await hosts.source(["tune", session.slice(0, 8), "--bandwidth", "off"]).exit).toMatchObject({
    code: 0,
  });
  expect(await send.exit).toMatchObject({ code: 0 });
  // The rest would have taken half a minute.
  expect(performance.now() - atMs).toBeLessThan(15_000);
  const done = send.events.at(-1) as EventNamed<"done">;
  expect(done).toMatchObject({ event: "done", tuned: { bandwidthBytesPerSec: null } });
  expect(existsSync(controlPath(hosts.sourceHome, session))).toBe(false);
}, 60_000);

test("what a VM that stands still does not have is refused by name, and nothing is changed", async () => {
  const { send } = await slowMove();
  for (const [flag, value, what] of [
    ["--downtime-limit", "1s", "downtime limit"],
    ["--auto-converge", "off", "auto-converge"],
  ] as const) {
    const tune = hosts.source(["tune", "big", "--bandwidth", "64M", flag, value]);
    expect(await tune.exit).toMatchObject({ code: 6 });
    expect(tune.events.at(-1)).toMatchObject({
      event: "error",
      code: "policy",
      message: `big does not run: there is no ${what} to change`,
    });
  }
  expect(send.events.filter(({ event }) => event === "tuned")).toEqual([]);
  expect(await hosts.source(["tune", "big"]).exit).toMatchObject({ code: 2 });
  expect(await hosts.source(["tune", "other", "--bandwidth", "1M"]).exit).toMatchObject({ code: 6 });
  await send.kill();
  const late = hosts.source(["tune", "big", "--bandwidth", "64M"]);
  expect(await late.exit).toMatchObject({ code: 6 });
  expect(late.events.at(-1)).toMatchObject({ event: "error", code: "unknown-session" });
}, 60_000);

test("the socket is the user's alone, takes a line that it knows, and no more", async () => {
  const home = mkdtempSync(join(tmpdir(), "control-"));
  const session = "5a".repeat(16);
  mkdirSync(join(home, "sessions"), { mode: 0o700 });
  const told: Tuning[] = [];
  const move = {
    async tune(tuning: Tuning) {
      if (tuning.autoConverge) throw new MigrateError("policy", "it is not to be had", { hint: "wait" });
      told.push(tuning);
    },
    look: () => ({ tuning: { bandwidthBytesPerSec: 7 } }),
  };
  try {
    // A process that was killed leaves its socket; the next one takes its place.
    const left = openControl(home, session, move);
    const end = openControl(home, session, move);
    const path = controlPath(home, session);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await callMove(home, session, { say: "look" })).toEqual(move.look());
    await callMove(home, session, { say: "tune", tuning: { downtimeLimitMs: 5 } });
    expect(told).toEqual([{ downtimeLimitMs: 5 }]);
    const refused = callMove(home, session, { say: "tune", tuning: { autoConverge: true } });
    expect(await refused.catch((thrown: unknown) => thrown)).toMatchObject({
      code: "policy",
      message: "it is not to be had",
      hint: "wait",
    });
    for (const line of [
      "nonsense\n",
      '{"say":"tune","tuning":{"bandwidthBytesPerSec":0}}\n',
      '{"say":"tune","tuning":{"downtimeLimitMs":60001}}\n',
      '{"say":"tune","tuning":{"color":1}}\n',
      '{"say":"end"}\n',
    ]) {
      expect(await rawAnswer(path, line)).toContain('"code":"version"');
    }
    expect(await rawAnswer(path, "x".repeat(controlLineBytes + 1))).toContain('"code":"version"');
    expect(told).toHaveLength(1);
    end();
    expect(existsSync(path)).toBe(false);
    left();
    // Deeper than the path of a socket may be long (unix(7)).
    const deep = join(home, "d".repeat(100));
    mkdirSync(join(deep, "sessions"), { recursive: true });
    const endDeep = openControl(deep, session, move);
    expect(await callMove(deep, session, { say: "look" })).toEqual(move.look());
    endDeep();
    expect(() => openControl(join(home, "nowhere"), session, move)).toThrow("no socket in MIGRATE_HOME");
  } finally {
    rmSync(home, { recursive: true });
  }
});

/** What is answered until the connection is closed. */
async function rawAnswer(path: string, said: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let heard = "";
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data(_, piece) {
        heard += piece.toString();
      },
      close: () => resolve(heard),
      error: () => resolve(heard),
    },
  });
  socket.write(said);
  return await promise;
}
