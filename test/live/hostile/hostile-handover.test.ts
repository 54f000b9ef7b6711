/**
 * A destination that a source trusts and should not, and that has all of a running VM: the VM runs on at the
 * source until it was released, and what it is after that is said.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Script } from "../../support/hostile/hostile-destination.ts";
import {
  instance,
  stay,
  streamToken,
  takeStream,
  upToSeal,
  welcome,
} from "../../support/hostile/hostile-steps.ts";
import { TrickedVm } from "../../support/hostile/tricked-vm.ts";

let vm: TrickedVm;

beforeEach(async () => {
  vm = await TrickedVm.start();
});
afterEach(() => vm.close());

describe("in answer to SEAL", () => {
  test.each([
    [
      "READY with another digest",
      async ({ peer }) => void peer.send("ready", { digest: `sha256:${"0".repeat(64)}` }),
      "integrity",
    ],
    ["CANCELLED", async ({ peer }) => void peer.send("cancelled", {}), "cancelled"],
    ["OWNED", async ({ peer }) => void peer.send("owned", {}), "in-doubt"],
    ["CLOSED", async ({ peer }) => void peer.send("closed", {}), "protocol"],
    [
      "STARTED once more",
      async ({ peer }) => void peer.send("started", { instance, streamToken }),
      "protocol",
    ],
    ["the end of the connection, each time", async ({ peer }) => peer.close(), "network"],
    ["nothing, however alive it is", stay, "network"],
  ] as [string, Script, string][])("%s lets the VM run on", async (_what, answer, code) => {
    const { error, record } = await vm.sendTo({
      control: async (visit) => {
        await upToSeal(visit);
        await answer(visit);
        await visit.peer.closed;
      },
      stream: takeStream,
    });
    expect(error.code as string).toBe(code);
    expect(record?.state).toBe("cancelled");
    await vm.expectRunning();
  });
});

describe("after RELEASE", () => {
  const released =
    (then: Script): Script =>
    async (visit) => {
      if (visit.number === 1) {
        const { digest } = await upToSeal(visit);
        visit.peer.send("ready", { digest });
      } else {
        await welcome(visit);
      }
      await visit.peer.expect("release");
      await then(visit);
      await visit.peer.closed;
    };

  test("CANCELLED gives the VM back, and it runs on", async () => {
    const { error, record } = await vm.sendTo({
      control: released(async ({ peer }) => void peer.send("cancelled", {})),
      stream: takeStream,
    });
    expect(error.code).toBe("cancelled");
    expect(record?.state).toBe("cancelled");
    await vm.expectRunning();
  });

  test.each([
    ["nothing, however alive it is", stay],
    ["the end of the connection, each time", async ({ peer }) => peer.close()],
    ["READY once more", async ({ peer }) => void peer.send("ready", { digest: `sha256:${"0".repeat(64)}` })],
    ["CLOSED", async ({ peer }) => void peer.send("closed", {})],
  ] as [string, Script][])(
    "%s leaves a doubt, which is said: the VM stands still, and all of it is there",
    async (_what, then) => {
      const { error, record } = await vm.sendTo({ control: released(then), stream: takeStream });
      expect(error.code).toBe("in-doubt");
      expect(error.hint).toContain("migrate resolve");
      expect(record?.state).toBe("released");
      expect(["postmigrate", "paused"]).toContain(await vm.status());
      vm.expectFile();
    },
  );
});
