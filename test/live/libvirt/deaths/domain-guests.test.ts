/** A guest of libvirt reboots, powers off or panics in the middle of its live move. */
import { describe, expect } from "bun:test";
import type { DisturbedDomain } from "../../../support/libvirt/disturbed-domain.ts";
import { disturbedDomains } from "../../../support/libvirt/disturbed-domains.ts";
import { type LiveMoment, liveMoments } from "../../../support/libvirt/domain-moments.ts";
import { runChild, startChild } from "../../../support/system/child.ts";
import { until } from "../../../support/system/until.ts";

// A kernel that has panicked reboots at once, and does what its serial line is told to.
const { moveTest } = disturbedDomains({ onReboot: "restart", append: "sysrq_always_enabled panic=-1" });

/** What the kernel does at once where a BREAK on its serial line is followed by this letter (Linux, sysrq.rst). */
const keys = { reboots: "b", "powers off": "o", panics: "c" } as const;

type FrameMoment = "a piece of the mirrored disks" | "the RAM's first pass";

/** Moves the domain, slowly; from that moment on its kernel is told, until it hears. */
async function tell(move: DisturbedDomain, at: FrameMoment & LiveMoment, key: string): Promise<void> {
  const pty = /<serial type='pty'>\s*<source path='([^']+)'/.exec(await move.here.xml())![1]!;
  const sendBreak = JSON.stringify({ execute: "chardev-send-break", arguments: { id: "charserial0" } });
  // QEMU looks at a pty only while somebody has it open, and now and then whether that is so.
  const line = startChild(move.source.command(["sh", "-c", `exec 3<>${pty}; echo open; exec sleep 600`]));
  await until(() => line.stdout() !== "", "an open serial line");
  await move.at(liveMoments[at], () => {}, ["--bandwidth", "16M"]);
  const isHeard = async () => {
    await move.source.tryVirsh("qemu-monitor-command", "web1", sendBreak);
    await runChild(move.source.command(["sh", "-c", `printf ${key} > ${pty}`])).catch(() => {});
    return move.here.text().includes("sysrq: ") || move.here.qemuPid() === undefined;
  };
  await until(isHeard, "the kernel's answer");
  await line.kill();
}

moveTest("a guest that powers off is off at the source, and that is said", async (move) => {
  await tell(move, "the RAM's first pass", keys["powers off"]);
  expect(await move.failure()).toMatchObject({ code: 6, error: { code: "qemu-failed" } });
  await move.ends.expectOff();
});

describe("a guest boots again, and moves", () => {
  const guests = [
    ["reboots", "a piece of the mirrored disks"],
    ["panics", "the RAM's first pass"],
  ] as const;
  for (const [what, at] of guests) {
    moveTest(
      `that ${what} at ${at}`,
      async (move) => {
        await tell(move, at, keys[what]);
        expect(await move.failure()).toEqual({ code: 0, error: undefined });
        await move.ends.expectMovedAnew();
      },
      { boots: true },
    );
  }
});
