/** A gate between two unix sockets: bytes pass, what is refused ends both, what is held keeps its caller. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Socket, UnixSocketListener } from "bun";
import { UnixListener } from "../../../../src/platform/unix-listener.ts";
import { DestinationGate } from "../../../../src/vm/libvirt/rpc/destination-gate.ts";
import type { Gate } from "../../../../src/vm/libvirt/rpc/gate.ts";
import { GateRelay } from "../../../../src/vm/libvirt/rpc/gate-relay.ts";
import { PacketCutter } from "../../../../src/vm/libvirt/rpc/packet.ts";
import { SourceGate } from "../../../../src/vm/libvirt/rpc/source-gate.ts";
import {
  answerOf,
  domain,
  keepalive,
  packet,
  packetsIn,
  sourceCalls,
  sourceUris,
} from "../../../support/libvirt/hostile/rpc-talk.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { until } from "../../../support/system/until.ts";

/** One end of a connection, as a test sees it. */
class End {
  readonly got: Uint8Array[] = [];
  closed = false;
  socket: Socket | undefined;
  #unsent: Uint8Array = new Uint8Array(0);

  readonly handlers = {
    open: (socket: Socket) => {
      this.socket = socket;
    },
    data: (_: Socket, bytes: Uint8Array) => {
      this.got.push(new Uint8Array(bytes));
      this.onData(this.got.at(-1)!);
    },
    drain: () => this.send(new Uint8Array(0)),
    close: () => {
      this.closed = true;
    },
  };

  onData: (bytes: Uint8Array) => void = () => {};

  send(bytes: Uint8Array): void {
    this.#unsent = Buffer.concat([this.#unsent, bytes]);
    const taken = Math.max(0, this.socket?.write(this.#unsent) ?? 0);
    this.#unsent = this.#unsent.subarray(taken);
  }

  get bytes(): number {
    return this.got.reduce((sum, { length }) => sum + length, 0);
  }

  packets() {
    return packetsIn(this.got);
  }
}

let folder = "";
let servers: UnixSocketListener<undefined>[] = [];
eachTestInFolder("gate-relay-", (made) => {
  folder = made;
  servers = [];
  return () => {
    for (const server of servers) server.stop(true);
  };
});

/** A daemon that answers as libvirtd, a relay with the gate, and a client that has connected. */
async function connected<Event>(gate: Gate<Event>, answers = true) {
  const daemon = new End();
  const cutter = new PacketCutter();
  if (answers)
    daemon.onData = (bytes) => {
      for (const call of cutter.take(bytes)) if (call.program === 0x20008086) daemon.send(answerOf(call));
    };
  servers.push(Bun.listen({ unix: join(folder, "daemon"), socket: daemon.handlers }) as never);
  const listener = UnixListener.listen(join(folder, "gate"));
  const client = new End();
  const events: Event[] = [];
  const accepted = GateRelay.accept(listener, join(folder, "daemon"), {
    gate,
    onEvent: (e) => events.push(e),
  });
  await Bun.connect({ unix: join(folder, "gate"), socket: client.handlers });
  const relay = await accepted;
  let ended: { refused: unknown } | undefined;
  void relay.ended.then((refused) => {
    ended = { refused };
  });
  await until(() => daemon.socket !== undefined, "the daemon was connected to");
  return { daemon, client, relay, events, ended: () => ended };
}

/** Calls one after the other, each after the answer to the one before it. */
async function call(client: End, calls: readonly Uint8Array[]): Promise<void> {
  for (const bytes of calls) {
    const before = client.packets().length;
    client.send(bytes);
    await until(() => client.packets().length > before, "an answer came");
  }
}

const destination = () =>
  new DestinationGate({ ...domain, xml: "<domain/>", migrateUri: "unix:///m", disksUri: "unix:///n" });
const source = () => new SourceGate({ ...domain, migrateUri: sourceUris.migrate });

describe("a relay", () => {
  test("carries a migration, tells its events, and ends with the client", async () => {
    const { client, daemon, events, ended } = await connected(destination());
    await call(client, sourceCalls);
    expect(events.map(({ kind }) => kind)).toEqual(["prepared", "finishing", "finished"]);
    client.socket?.end();
    await until(() => ended() !== undefined && daemon.closed, "both have ended");
    expect(ended()).toEqual({ refused: undefined });
  });

  test("lets one in, and then listens no more", async () => {
    await connected(destination());
    const second = Bun.connect({ unix: join(folder, "gate"), socket: new End().handlers });
    expect(
      await second.then(
        () => "let in",
        () => "turned away",
      ),
    ).toBe("turned away");
  });

  test("sends why it refuses before it ends both", async () => {
    const { client, daemon, ended } = await connected(destination());
    client.send(packet({ procedure: 10, serial: 3 }));
    await until(() => client.closed && daemon.closed && ended() !== undefined, "both have ended");
    expect(client.packets()).toMatchObject([{ procedure: 10, serial: 3, status: 1 }]);
    expect(daemon.bytes).toBe(0);
    expect(ended()?.refused).toMatchObject({ code: "policy" });
  });

  test("ends the client when the daemon is gone", async () => {
    const { client, daemon, ended } = await connected(destination());
    daemon.socket?.end();
    await until(() => client.closed && ended() !== undefined, "both have ended");
  });

  test("closes what came if there is no daemon, and says so", async () => {
    const listener = UnixListener.listen(join(folder, "gate"));
    const client = new End();
    const gate = destination();
    const accepted = GateRelay.accept(listener, join(folder, "nobody"), { gate, onEvent: () => {} }).catch(
      (thrown) => thrown,
    );
    await Bun.connect({ unix: join(folder, "gate"), socket: client.handlers });
    expect(await accepted).toMatchObject({ code: "ENOENT" });
    await until(() => client.closed, "the client's connection was closed");
  });

  test("does not read from a client that takes no answers", async () => {
    const { client } = await connected(destination());
    client.socket?.pause();
    const flood = Buffer.concat(Array(40_000).fill(keepalive(1)));
    // What the sockets and the gate hold at most; without a bound this would go on.
    const mostBytes = 8 * 1024 * 1024;
    let sent = 0;
    for (let idleTurns = 0; idleTurns < 500 && sent < mostBytes; idleTurns += 1) {
      const taken = Math.max(0, client.socket?.write(flood.subarray(sent % 28)) ?? 0);
      if (taken > 0) idleTurns = 0;
      sent += taken;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(sent).toBeLessThan(mostBytes);
    client.socket?.resume();
    await until(() => client.bytes > 64 * 1024, "the answers come once they are taken");
  });
});

// [DOM-4]
describe("while the answer to FINISH is held", () => {
  const heldUp = async () => {
    const gate = source();
    const all = await connected(gate);
    await call(all.client, sourceCalls.slice(0, 9));
    all.client.send(sourceCalls[9]!);
    await until(() => gate.holding, "FINISH was answered");
    return { ...all, gate };
  };

  test("the daemon's end is not the client's", async () => {
    const { client, daemon, relay, gate, ended } = await heldUp();
    daemon.socket?.end();
    await until(() => daemon.closed, "the daemon has ended");
    await call(client, [keepalive(1)]);
    expect(client.closed).toBe(false);
    const before = client.packets().length;
    relay.perform(gate.release());
    await until(() => client.packets().length > before, "the answer was released");
    expect(client.packets().at(-1)).toMatchObject({ procedure: 306, serial: 9, status: 0 });
    await call(client, sourceCalls.slice(10));
    client.socket?.end();
    await until(() => ended() !== undefined, "both have ended");
  });

  test("what the daemon says wrong ends the daemon's connection alone", async () => {
    const { client, daemon, relay, gate, ended } = await heldUp();
    daemon.send(Buffer.from("this is no packet of libvirt's, is it"));
    await until(() => daemon.closed, "the daemon's connection was ended");
    await call(client, [keepalive(1)]);
    expect(client.closed).toBe(false);
    relay.perform(gate.refuse("The destination lied"));
    await until(() => client.packets().at(-1)?.procedure === 306, "the answer came");
    expect(client.packets().at(-1)).toMatchObject({ serial: 9, status: 1 });
    client.socket?.end();
    await until(() => ended() !== undefined, "both have ended");
    expect(ended()?.refused).toMatchObject({ code: "protocol" });
  });

  test("a relay that is closed ends both", async () => {
    const { client, daemon, relay, ended } = await heldUp();
    relay.close();
    await until(() => client.closed && daemon.closed && ended() !== undefined, "both have ended");
  });
});
