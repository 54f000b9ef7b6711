import { describe, expect, test } from "bun:test";
import type { MigrationEvent } from "../../src/migration/report/events.ts";
import { doneText } from "../../src/terminal/sentences.ts";

const MiB = 1024 ** 2;
type EventOf<Name extends MigrationEvent["event"]> = Extract<MigrationEvent, { event: Name }>;

describe("a running VM that was moved", () => {
  const done: EventOf<"done"> = {
    event: "done",
    session: "s1",
    name: "web1",
    side: "source",
    mode: "move",
    bytes: 1280 * MiB,
    wireBytes: 2048,
    chunksSent: 0,
    foundBytes: 0,
    repeatedBytes: 0,
    seconds: 4.2,
    digest: `sha256:${"ab".repeat(32)}`,
    owner: "destination",
    runs: true,
    downtimeMs: 1117.6,
    after: "rename",
  };

  test("it is said where it runs, for how many milliseconds it did not, and what became of the source's", () => {
    expect(doneText(done).split("\n")).toEqual([
      "web1 runs on the destination now. It stood still for 1118 ms.",
      "  1.3 GiB (1,342,177,280 bytes) in 4.2 s (304.8 MiB/s)",
      "  2.0 KiB (2,048 bytes) on the wire",
      `  digest sha256:${"ab".repeat(32)}, checked by both sides`,
      "  Its QEMU here has ended, and its files here now end in .migrated.",
      "",
    ]);
    const checked = (more: Partial<EventOf<"done">>) =>
      doneText({ ...done, ...more })
        .split("\n")[3]!
        .slice(`  digest ${done.digest}, `.length);
    expect(checked({ readBack: "memory" })).toBe(
      "checked by both sides; the destination has read its files back",
    );
    expect(checked({ readBack: "disk" })).toEndWith("read its files back from the disk");
    expect(checked({ readBack: "none" })).toBe("checked by both sides");
    const { runs: _, ...files } = done;
    expect(doneText({ ...files, readBack: "none" })).toContain("were not read back (migrate verify does)");
    const last = (what: EventOf<"done">["after"]) =>
      doneText({ ...done, after: what })
        .split("\n")
        .at(-2);
    expect(last("delete")).toBe("  Its QEMU here has ended, and its files here are deleted.");
    expect(last("keep")).toStartWith("  Its QEMU here has ended. The source's files stay where they are;");
  });

  test("what the digest is about is said where it is not the files, and what was left behind", () => {
    const text = doneText({
      ...done,
      proven: "of its RAM and disks as they were sent",
      leftBehind: ["the internal snapshots of a.qcow2 (\u001b[2Jbefore)"],
    });
    expect(text).toContain("checked by both sides\n  (of its RAM and disks as they were sent)\n");
    expect(text).toMatch(/\n {2}left behind: the internal snapshots of a\.qcow2 \([^\u001b]*before\)\n/);
  });

  test("what a person changed on the way is in the report, as it was in the end", () => {
    const text = doneText({
      ...done,
      tuned: { bandwidthBytesPerSec: 200 * MiB, downtimeLimitMs: 1000, autoConverge: false },
    });
    expect(text).toContain(
      "\n  changed on the way: at most 200.0 MiB/s, downtime limit 1.0 s, auto-converge off\n",
    );
    expect(doneText({ ...done, tuned: { bandwidthBytesPerSec: null } })).toContain(
      "changed on the way: no limit of the bandwidth",
    );
  });

  test("one that was paused is told apart, on both sides; the destination measures no downtime", () => {
    const first = (more: Partial<EventOf<"done">>) => {
      const { downtimeMs: _, ...rest } = done;
      return doneText({ ...rest, ...more }).split("\n")[0];
    };
    expect(first({})).toBe("web1 runs on the destination now.");
    expect(first({ side: "destination" })).toBe("web1 runs here now.");
    expect(first({ runs: false })).toBe("web1 is on the destination now, paused as it was.");
    expect(first({ runs: false, side: "destination" })).toBe("web1 is here now, paused as it was.");
  });
});
