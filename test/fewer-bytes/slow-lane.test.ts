/** Lanes take their work from one queue: what one of them is too slow for, the others do. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { connect, createServer, type Server, type Socket } from "node:net";
import { randomStream } from "../support/files/small-vm.ts";
import { until } from "../support/system/until.ts";
import { Ground } from "./ground.ts";

const mebibyte = 1024 ** 2;
/** Chunks that a lane may have sent and not seen acknowledged (transfer/lanes/lane-sender.ts). */
const windowChunks = 16;
const chunks = 80;

let ground: Ground;
let relay: Server;
/** The source's ends of all connections, in the order in which they came, and what passed of each. */
let sources: Socket[];
let passedBytes: Map<Socket, number>;
/** The one of which nothing passes any more, and whether there has been one: it is stopped once. */
let stopped: Socket | undefined;
let hasStopped: boolean;
beforeEach(async () => {
  ground = new Ground();
  sources = [];
  passedBytes = new Map();
  stopped = undefined;
  hasStopped = false;
  await ground.serve({ index: false });
  relay = createServer((source) => {
    sources.push(source);
    const destination = connect(ground.serving.address);
    source.on("data", (data) => {
      passedBytes.set(source, (passedBytes.get(source) ?? 0) + data.length);
      if (!destination.write(data)) source.pause();
    });
    destination.on("drain", () => source === stopped || source.resume());
    source.on("end", () => destination.end());
    destination.pipe(source);
    source.on("error", () => destination.destroy());
    destination.on("error", () => source.destroy());
  });
  await new Promise<void>((listening) => relay.listen(0, "127.0.0.1", listening));
});
afterEach(async () => {
  for (const source of sources) source.destroy();
  relay.close();
  await ground.close();
});

test("a lane that stands still keeps no more than what it has sent, and the others bring all the rest", async () => {
  const disk = randomStream(3)(chunks * mebibyte);
  const { port } = relay.address() as { port: number };
  const sent = ground.send(ground.vm(disk), disk, {
    address: { host: "127.0.0.1", port },
    lanes: 2,
    compression: "off",
    observe: (event) => {
      if (event.event !== "progress" || event.doneBytes === 0 || hasStopped) return;
      hasStopped = true;
      // The newest connection is a lane, whichever of the two it is.
      stopped = sources.at(-1)!;
      stopped.pause();
    },
  });
  await until(() => stopped !== undefined, "the first chunk");
  const bytes = passedBytes.get(stopped!) ?? 0;
  const others = () => [...passedBytes.values()].reduce((sum, passed) => sum + passed, 0) - bytes;
  await until(() => others() >= (chunks - windowChunks) * mebibyte - bytes, "what the other lane can do");
  const resumed = stopped!;
  stopped = undefined;
  resumed.resume();
  const { chunksSent } = await sent;
  expect(chunksSent).toBe(chunks);
});
