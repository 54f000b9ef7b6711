/** A guest's agent by its channel: one that answers, and ones that lie, flood, dawdle or are not there. */
import { expect, test } from "bun:test";
import { symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { findAgent, setGuestTime } from "../../../../src/vm/qemu/agent/guest-agent.ts";
import type { Qmp } from "../../../../src/vm/qemu/qmp/qmp.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

let folder: string;
let server: Server | undefined;
const callers = new Set<Socket>();

eachTestInFolder("agent-", (made) => {
  folder = made;
  return async () => {
    for (const caller of callers) caller.destroy();
    await new Promise((resolve) => (server === undefined ? resolve(null) : server.close(resolve)));
    server = undefined;
  };
});

/** What a played agent says to a command, with its id; null for silence. */
type Says = (command: string, id: number) => Buffer | string | null;

async function agent(says: Says, greets?: Buffer | string): Promise<{ path: string; heard: Buffer[] }> {
  const path = join(folder, "agent");
  const heard: Buffer[] = [];
  server = createServer((caller) => {
    callers.add(caller);
    caller.on("error", () => {});
    if (greets !== undefined) caller.write(greets);
    let text = "";
    caller.on("data", (bytes: Buffer) => {
      heard.push(bytes);
      text += bytes.toString("latin1");
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const { execute, arguments: given } = JSON.parse(line.replace("\xff", ""));
        const answer = says(execute, given.id);
        if (answer !== null) caller.write(answer);
      }
    });
  });
  await new Promise<void>((resolve) => server!.listen(path, resolve));
  return { path, heard };
}

const synced = (id: number) => Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"return": ${id}}\n`)]);
const good: Says = (command, id) => (command === "guest-sync-delimited" ? synced(id) : '{"return": {}}\n');

test("one that answers is told this host's time in nanoseconds, after its reading was reset", async () => {
  const { path, heard } = await agent(good);
  const before = BigInt(Date.now());
  expect(await setGuestTime(path)).toBeNull();
  const text = Buffer.concat(heard);
  expect(text[0]).toBe(0xff);
  const [, nanoseconds] = /"guest-set-time","arguments":\{"time":(\d+)\}\}\n$/.exec(text.toString("latin1"))!;
  const milliseconds = BigInt(nanoseconds!) / 1_000_000n;
  expect(milliseconds).toBeGreaterThanOrEqual(before);
  expect(milliseconds).toBeLessThanOrEqual(BigInt(Date.now()));
});

test("what an earlier caller did not wait for is passed over", async () => {
  const { path } = await agent(
    (command, id) =>
      command === "guest-sync-delimited"
        ? Buffer.concat([synced(id - 1), Buffer.from('{"return": "late"}\n'), synced(id)])
        : '{"return": {}}\n',
    '{"return": {}}\n{"error": {"desc": "old"}}\n',
  );
  expect(await setGuestTime(path)).toBeNull();
});

test("one that refuses is quoted, without what moves a cursor", async () => {
  const { path } = await agent((command, id) =>
    command === "guest-sync-delimited"
      ? synced(id)
      : `{"error": {"class": "GenericError", "desc": "not\\u001b[2J allowed${"!".repeat(500)}"}}\n`,
  );
  const said = await setGuestTime(path);
  expect(said).toStartWith("it refused: not");
  expect(said).not.toContain("\u001b");
  expect(said!.length).toBeLessThan(150);
});

test.each([
  ["says nothing", () => null, "it does not answer"],
  ["answers with another number for ever", (_: string, id: number) => synced(id + 1), "it does not answer"],
  ["floods", () => Buffer.alloc(1 << 20, 0x41), "it says more than an agent has to say"],
  [
    "ends no line",
    () => Buffer.concat([Buffer.from([0xff]), Buffer.alloc(8192, 0x41)]),
    "what it says is no answer",
  ],
  [
    "answers nonsense",
    (command: string, id: number) => (command === "guest-sync-delimited" ? synced(id) : "[[[[\n"),
    "what it says is no answer",
  ],
  [
    "answers without a return or an error",
    (command: string, id: number) => (command === "guest-sync-delimited" ? synced(id) : '{"toString": 1}\n'),
    "what it says is no answer",
  ],
] as [string, Says, string][])("one that %s is left alone in time", async (_, says, why) => {
  const { path } = await agent(says);
  expect(await setGuestTime(path, 300)).toBe(why);
});

test("what is no socket of its own is not spoken to", async () => {
  expect(await setGuestTime(join(folder, "nothing"))).toBe("its channel is not there");
  writeFileSync(join(folder, "file"), "");
  expect(await setGuestTime(join(folder, "file"))).toBe("its channel is not there");
  const { path, heard } = await agent(good);
  symlinkSync(path, join(folder, "link"));
  expect(await setGuestTime(join(folder, "link"))).toBe("its channel is not there");
  expect(heard).toEqual([]);
});

test("an agent is there if the guest has the channel open, and nobody else speaks to it", async () => {
  const asked = (devices: object[]) => ({ ask: async () => devices }) as unknown as Qmp;
  const channels = [{ id: "qga0", path: "/run/qga0" }];
  const chardev = (change: object) => ({
    ...{ label: "qga0", filename: "disconnected:unix:/run/qga0,server=on", "frontend-open": true },
    ...change,
  });
  expect(await findAgent(asked([chardev({})]), channels)).toEqual({ kind: "listens", path: "/run/qga0" });
  expect(await findAgent(asked([chardev({ "frontend-open": false })]), channels)).toBeNull();
  expect(await findAgent(asked([chardev({ label: "serial0" })]), channels)).toBeNull();
  expect(await findAgent(asked([chardev({ filename: "unix:/run/qga0,server=on" })]), channels)).toEqual({
    kind: "taken",
  });
  expect(await findAgent(asked([]), [])).toBeNull();
});
