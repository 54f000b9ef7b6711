/** Which program the two sides say they are: the same on every kind of connection, and what --version says. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../../src/commands/cli/program.ts";
import type { FrameName } from "../../src/protocol/frames.ts";
import { limits } from "../../src/protocol/limits.ts";
import { TestWorld } from "../commands/world.ts";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { sendWhole } from "../support/moves/sending.ts";
import { startServing, stopServing } from "../support/moves/serving.ts";
import { StreamGround } from "../transfer/streams/stream-ground.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-software-"));
});
afterAll(async () => {
  await stopServing();
  rmSync(root, { recursive: true, force: true });
});

/** What was said on the links of a proxy: a HELLO by its role, and each WELCOME. */
interface Said {
  kind: string;
  software: string;
}

function listenAt(proxy: CuttingProxy): Said[] {
  const said: Said[] = [];
  proxy.rewrite = (_direction, name: FrameName, frame) => {
    if (name !== "hello" && name !== "welcome") return;
    const { role, software } = JSON.parse(frame.subarray(limits.frameHeaderBytes).toString()) as Record<
      "role" | "software",
      string
    >;
    said.push({ kind: name === "hello" ? role : name, software });
  };
  return said;
}

/** As `migrate --version --json` says it. */
async function printedVersion(): Promise<string> {
  const world = new TestWorld();
  try {
    await runProgram({ name: "migrate", summary: "", commands: {} }, ["--version", "--json"], world);
    return (JSON.parse(world.take().stdout) as { version: string }).version;
  } finally {
    world.remove();
  }
}

test("control connections, lanes and streams name the version that --version prints, both ways", async () => {
  const { address } = await startServing({ home: join(root, "there"), store: join(root, "store") });
  const proxy = await CuttingProxy.open({ target: () => address, parseFrames: true });
  const said = listenAt(proxy);
  const vm = makeSmallVm(join(root, "vm"));
  await sendWhole({ home: join(root, "here"), vm: vm.spec, address: proxy.address, lanes: 1 });
  await proxy.close();

  const ground = await StreamGround.make({ secure: false, parseFrames: true, doors: 1 });
  said.push(...(await streamsSay(ground)));

  const software = `migrate/${await printedVersion()}`;
  expect(new Set(said.map((one) => one.kind))).toEqual(new Set(["control", "lane", "stream", "welcome"]));
  expect(said.filter(({ kind }) => kind === "welcome").length).toBe(
    said.filter(({ kind }) => kind !== "welcome").length,
  );
  for (const one of said) expect(one).toEqual({ kind: one.kind, software });
});

async function streamsSay(ground: StreamGround): Promise<Said[]> {
  const said = listenAt(ground.proxy);
  await ground.join(0);
  await ground.close();
  return said;
}
