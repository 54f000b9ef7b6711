/** A lane is read no faster than the main thread takes what it is told of it. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TcpAddress } from "../../../src/channel/address.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { Door } from "../../../src/transfer/doors/door.ts";
import type { FromDoor } from "../../../src/transfer/doors/door-messages.ts";
import { reserve } from "../../../src/transfer/doors/reserve.ts";
import { RawPeer } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { until } from "../../support/system/until.ts";

const session = "5e".repeat(16);
const chunks = 1_000_000;
const undo: (() => unknown)[] = [];
afterEach(() => {
  for (const back of undo.splice(0).reverse()) back();
});

type Told = Extract<FromDoor, { kind: "chunks" }>;

/** A door with one lane, and what it has told of that lane's chunks. */
async function laneThrough() {
  const folder = mkdtempSync(join(tmpdir(), "migrate-door-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "d");
  writeFileSync(path, "");
  const vm = new RawVm("web1");
  const told: Told[] = [];
  const listening = Promise.withResolvers<void>();
  const door = new Door((message) => {
    if (message.kind === "listening") listening.resolve();
    else if (message.kind === "chunks") told.push(message);
    else if (message.kind === "lane") {
      const files = [{ path, bytes: chunks * limits.chunkBytes }];
      const tagKey = Buffer.from(vm.tagKey, "hex");
      const lane = { session, tagKey, files, used: false, finder: null };
      door.handle({ kind: "open-lane", conn: message.conn, lane });
    }
  });
  undo.push(() => door.handle({ kind: "stop" }));
  const { places } = await reserve([{ host: "127.0.0.1", port: 0 }]);
  const bounds = { door: 0, doors: 1, maxStrangers: 8, mostDescriptor: 1_000_000 };
  door.handle({ kind: "listen", places, credentials: null, ...bounds });
  await listening.promise;
  const { port } = places[0] as TcpAddress;
  const lane = await RawPeer.connect({ port, tls: false, identity: null });
  undo.push(() => lane.close());
  await lane.hello({ role: "lane", session, laneToken: "00".repeat(16) }).expect("welcome");
  return { door, vm, lane, told };
}

test("a flood of zeros waits for the main thread, and all of it comes once that takes it", async () => {
  const { door, vm, lane, told } = await laneThrough();
  const zero = vm.chunk(Buffer.alloc(limits.chunkBytes));
  const count = 200_000;
  const frames = Buffer.concat(Array<Buffer>(count).fill(zero));
  lane.sendBytes(frames);
  const placesOf = (messages: readonly Told[]) =>
    messages.reduce((sum, { places }) => sum + places.length / 2, 0);
  await until(() => told.length >= 8, "as much as may wait");
  // Whatever the kernel and one read hold comes, and no more of it.
  let before = -1;
  await until(() => {
    const isStill = told.length === before;
    before = told.length;
    return isStill;
  }, "the end of the first part");
  expect(placesOf(told)).toBeLessThan(count / 2);
  let taken = 0;
  await until(() => {
    for (; taken < told.length; taken++) door.handle({ kind: "taken", conn: told[taken]!.conn });
    return placesOf(told) === count;
  }, "all of it");
});
