/** A destination that never said that it takes zstd, while a running VM goes over: what it does not know is not sent to it. */
import { describe, expect, test } from "bun:test";
import type { FrameName } from "../../../src/protocol/frames.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { start, takeStream } from "../../support/hostile/hostile-steps.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { TrickedVm } from "../../support/hostile/tricked-vm.ts";

describe("a VM is sent to a destination that", () => {
  /** The names of the frames of all streams, up to the end of the move, which such a destination does not see through. */
  async function framesTo(change: Partial<MessageBody<"started">>): Promise<(FrameName | undefined)[]> {
    const vm = await TrickedVm.start();
    const peers: RawPeer[] = [];
    try {
      await vm.sendTo(
        {
          control: async (visit) => {
            await start(visit, change);
            await visit.peer.expect("seal");
            visit.peer.send("ready", { digest: `sha256:${"0".repeat(64)}` });
            await visit.peer.closed;
          },
          stream: async (visit) => {
            peers.push(visit.peer);
            await takeStream(visit);
          },
        },
        { compression: 9 },
      );
      await vm.expectRunning();
    } finally {
      await vm.close();
    }
    return peers.flatMap(({ frames }) => frames.map(({ name }) => name));
  }

  test("does not say that it takes zstd: nothing is compressed, whatever --compress says", async () => {
    for (const change of [{}, { zstd: false }]) {
      const names = await framesTo(change);
      expect(names).toContain("data");
      expect(names).toContain("dataEnd");
      expect(names).not.toContain("dataZstd");
    }
  });

  test("says so: what shrinks is compressed", async () => {
    expect(await framesTo({ zstd: true })).toContain("dataZstd");
  });
});
