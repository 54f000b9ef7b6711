/**
 * A destination that a source trusts and should not, while a running VM goes over: the VM runs on at the source,
 * and nothing waits for ever.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { limits } from "../../../src/protocol/limits.ts";
import { encodeDataAck, encodeDataEnd, StreamDigest } from "../../../src/transfer/streams/stream-frame.ts";
import { accept, letIn, type Script, takeChunks } from "../../support/hostile/hostile-destination.ts";
import {
  beSilent,
  instance,
  sayOn,
  start,
  stay,
  takeStream,
  upToSeal,
  welcome,
} from "../../support/hostile/hostile-steps.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { TrickedVm, type TrickedVmOptions } from "../../support/hostile/tricked-vm.ts";

let vm: TrickedVm;

afterEach(() => vm.close());

async function begin(options: TrickedVmOptions = {}): Promise<void> {
  vm = await TrickedVm.start(options);
}

describe("in answer to START", () => {
  beforeEach(() => begin());

  test("a destination that is alive and never says STARTED does not keep the source", async () => {
    const { error, record } = await vm.sendTo({
      control: async (visit) => {
        await letIn(visit);
        accept(visit.peer);
        await visit.peer.expect("start");
        await stay(visit);
      },
      stream: takeStream,
    });
    expect(error).toMatchObject({ code: "network", message: "no answer came within 1 s" });
    expect(record?.state).toBe("cancelled");
    await vm.expectRunning();
  });

  test.each([
    ["READY", (peer: RawPeer) => peer.send("ready", { digest: `sha256:${"0".repeat(64)}` }), "protocol"],
    ["OWNED", (peer: RawPeer) => peer.send("owned", {}), "protocol"],
    ["CANCELLED", (peer: RawPeer) => peer.send("cancelled", {}), "protocol"],
    ["STARTED without a token", (peer: RawPeer) => peer.sendJson("started", { instance }), "protocol"],
    ["an error", (peer: RawPeer) => peer.send("error", { code: "policy", message: "no" }), "policy"],
  ] as const)("%s ends the move, and the VM runs on", async (_what, say, code) => {
    const { error } = await vm.sendTo({
      control: async (visit) => {
        await letIn(visit);
        accept(visit.peer);
        await visit.peer.expect("start");
        say(visit.peer);
        await visit.peer.closed;
      },
      stream: takeStream,
    });
    expect(error.code).toBe(code);
    await vm.expectRunning();
  });

  test("another instance on the next link says that what was sent is lost", async () => {
    const { error } = await vm.sendTo(
      {
        control: async (visit) => {
          await start(visit, visit.number === 1 ? {} : { instance: "4".repeat(32) });
          if (visit.number === 1) visit.peer.close();
          await visit.peer.closed;
        },
        stream: beSilent,
      },
      { retryForMs: 5_000, stallLimits: { stoppedMs: 9_000, runningMs: 9_000 } },
    );
    expect(error).toMatchObject({ code: "cancelled", message: expect.stringContaining("was started anew") });
    await vm.expectRunning();
  });
});

describe("on the RAM's stream", () => {
  beforeEach(() => begin());
  const control: Script = async (visit) => {
    await start(visit);
    await stay(visit);
  };

  test.each([
    ["never a welcome", beSilent, "network"],
    // As of one that knows nothing of the stream any more.
    [
      "a refusal",
      async ({ peer }) => void peer.send("error", { code: "policy", message: "no" }),
      "cancelled",
    ],
    ["bytes that are no frame", async ({ peer }) => void peer.sendBytes(Buffer.alloc(64, 0xff)), "protocol"],
    [
      "data before the welcome",
      async ({ peer }) => void peer.sendFrame("data", Buffer.alloc(32)),
      "protocol",
    ],
    ["a welcome for bytes that were not sent", (visit) => welcome(visit, 5), "protocol"],
    [
      "an acknowledgement of bytes that were not sent",
      async (visit) => {
        await welcome(visit);
        visit.peer.sendBytes(encodeDataAck(2 ** 40));
      },
      "protocol",
    ],
    [
      "an acknowledgement that is taken back",
      async (visit) => {
        await welcome(visit);
        const { payload } = await visit.peer.next();
        visit.peer.sendBytes(encodeDataAck(payload.length - limits.dataHeaderBytes));
        visit.peer.sendBytes(encodeDataAck(0));
      },
      "protocol",
    ],
    [
      "a control message",
      async (visit) => {
        await welcome(visit);
        visit.peer.send("owned", {});
      },
      "protocol",
    ],
    [
      "data with a wrong tag",
      async (visit) => {
        await welcome(visit);
        visit.peer.sendFrame("data", Buffer.alloc(64));
      },
      "integrity",
    ],
    [
      "an end with a wrong digest",
      async (visit) => {
        await welcome(visit);
        visit.peer.sendBytes(encodeDataEnd(0, Buffer.alloc(32)));
      },
      "integrity",
    ],
    [
      "a welcome and nothing taken after it",
      async (visit) => {
        await welcome(visit);
        await stay(visit);
      },
      "network",
    ],
  ] as [string, Script, string][])("%s ends the move, and the VM runs on", async (_what, script, code) => {
    const { error, record } = await vm.sendTo({
      control,
      stream: async (visit) => {
        await script(visit);
        await visit.peer.closed;
      },
    });
    expect(error.code as string).toBe(code);
    expect(record?.state).toBe("cancelled");
    await vm.expectRunning();
  });

  test("data in the other direction is nothing to QEMU, however much it is", async () => {
    const { error } = await vm.sendTo({
      control: async (visit) => {
        const { digest } = await upToSeal(visit);
        expect(digest).not.toBe("");
        visit.peer.send("ready", { digest: `sha256:${"0".repeat(64)}` });
        await visit.peer.closed;
      },
      stream: async (visit) => {
        const { peer } = visit;
        const said = Buffer.alloc(2 ** 20, 0x51);
        let bytes = 0;
        await welcome(visit);
        sayOn(visit, said);
        for (;;) {
          const { name, payload } = await peer.next();
          if (name === "data") bytes += payload.length - limits.dataHeaderBytes;
          if (name === "data") peer.sendBytes(encodeDataAck(bytes));
          if (name !== "dataEnd") continue;
          peer.sendBytes(encodeDataAck(bytes + 1));
          peer.sendBytes(encodeDataEnd(said.length, Buffer.alloc(32)));
        }
      },
    });
    expect(["integrity", "qemu-failed"]).toContain(error.code as string);
    await vm.expectRunning();
  });
});

describe("a mirrored disk's stream", () => {
  beforeEach(() => begin({ disk: true }));
  const control: Script = async (visit) => {
    await start(visit);
    await stay(visit);
  };

  test.each([
    [
      "of garbage",
      async (visit) => {
        await welcome(visit);
        sayOn(visit, Buffer.alloc(4096, 0x51));
      },
    ],
    [
      "that ends at once",
      async (visit) => {
        await welcome(visit);
        visit.peer.sendBytes(encodeDataEnd(0, new StreamDigest(limits.ramStreams).finish(0)));
      },
    ],
  ] as [string, Script][])("%s ends the move, and the VM runs on", async (_what, script) => {
    const { error, record } = await vm.sendTo({
      control,
      stream: async (visit) => {
        await script(visit);
        await visit.peer.closed;
      },
    });
    expect(error.code).toBe("qemu-failed");
    expect(record?.state).toBe("cancelled");
    await vm.expectRunning();
  });

  test("without a word holds QEMU for seconds at most, and the VM runs on", async () => {
    const { error, tookMs } = await vm.sendTo(
      {
        control,
        stream: async (visit) => {
          await welcome(visit);
          await stay(visit);
        },
      },
      { stallLimits: { stoppedMs: 60_000, runningMs: 60_000 } },
    );
    expect(error.code).toBe("qemu-failed");
    expect(tookMs).toBeLessThan(20_000);
    await vm.expectRunning();
  }, 40_000);
});

describe("a VM that is stopped for its move", () => {
  beforeEach(() => begin());
  test.each([
    [
      "takes no chunk, and is alive on the lane",
      async (visit) => {
        visit.peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
        await visit.peer.next();
        visit.peer.sendFrame("ack");
        await visit.peer.closed;
      },
      "protocol",
    ],
    [
      "never lets a lane in",
      async ({ peer }) => void peer.send("error", { code: "limit", message: "no" }),
      "limit",
    ],
  ] as [string, Script, string][])("runs on where the destination %s", async (_what, lane, code) => {
    const { error } = await vm.sendTo(
      {
        control: async (visit) => {
          await letIn(visit);
          accept(visit.peer);
          await stay(visit);
        },
        stream: takeStream,
        lane,
      },
      { live: false },
    );
    expect(error.code as string).toBe(code);
    await vm.expectRunning();
  });

  test("runs on where everything is taken and nothing comes of it", async () => {
    const { error } = await vm.sendTo(
      {
        control: async (visit) => {
          await upToSeal(visit);
          await stay(visit);
        },
        stream: takeStream,
        lane: takeChunks,
      },
      { live: false },
    );
    expect(error.code).toBe("network");
    await vm.expectRunning();
  });
});
