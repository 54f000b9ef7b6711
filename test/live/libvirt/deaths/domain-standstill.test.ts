/** The destination's libvirt stands still in the middle of a live move: the domain at the source does not for long. */
import { expect } from "bun:test";
import { disturbedDomains } from "../../../support/libvirt/disturbed-domains.ts";
import { liveMoments } from "../../../support/libvirt/domain-moments.ts";

const { moveTest } = disturbedDomains();

/** More than a destination may take that takes nothing of a VM that is stopped, and what libvirt needs after that. */
const mostStillMs = 80_000;

moveTest(
  "a libvirtd that has all of the domain and answers nothing: the domain goes on at the source",
  async (move) => {
    const at = liveMoments["the end of the RAM, with the domain stopped"];
    await move.strike(at, "the destination's libvirtd", "SIGSTOP");
    await move.here.waitForTicks(3, mostStillMs);
    process.kill(move.destination.libvirtdPid()!, "SIGCONT");
    expect(await move.failure()).toMatchObject({
      code: 4,
      error: { code: "network", message: expect.stringContaining("took nothing of the VM for 60 s") },
    });
    await move.ends.expectStays();
  },
);
