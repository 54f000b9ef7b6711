import { expect, test } from "bun:test";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { requireLimitsOf } from "../../../src/vm/qemu/drive-limits.ts";
import { type Limits, limitsIn } from "../../../src/vm/qemu/images/drive-limits.ts";

/** What is said of a VM with these drives, of which QEMU has these limits now; null if it is let pass. */
function said(drives: readonly string[], now: readonly Limits[]): string | null {
  const words = drives.flatMap((more, n) => ["-drive", `file=/d${n},format=raw,if=none,id=d${n}${more}`]);
  const { parts } = parseDefinition(["qemu-system-x86_64", "-name", "v", "-m", "16", ...words]);
  try {
    requireLimitsOf(parts, (file) => now[file] && { called: `d${file}`, limits: limitsIn(now[file]) });
    return null;
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

test("a drive that has the limits of its command line is let pass, in either spelling of them", () => {
  const limits = { bps_rd: 7000, iops: 20, iops_max: 90, iops_max_length: 1, iops_size: 4096 };
  expect(said([",bps_rd=7000,iops=20,iops_max=90,iops_size=4096"], [limits])).toBeNull();
  const spelled = ["bps-read=7000", "iops-total=20", "iops-total-max=90", "iops-size=4096"];
  expect(said([spelled.map((limit) => `,throttling.${limit}`).join("")], [limits])).toBeNull();
  expect(said([""], [{}])).toBeNull();
  expect(said([",bps=1"], [])).toBeNull();
});

test("one that was given others, or none, since it was started is refused, with what it is and was", () => {
  const other = "was given another limit since the VM was started";
  expect(said([",bps=5"], [{ bps: 6 }])).toBe(`The drive d0 ${other}: bps is 6, and was 5`);
  expect(said(["", ",iops=5"], [{}, {}])).toBe(`The drive d1 ${other}: iops is 0, and was 5`);
  expect(said([""], [{ bps_wr_max: 9 }])).toBe(`The drive d0 ${other}: bps_wr_max is 9, and was 0`);
});

test("drives of one group have the limits of the last one that has some", () => {
  const drives = [",bps=5,group=g", ",group=g", ",bps=8,throttling.group=g"];
  expect(said(drives, [{ bps: 8 }, {}, { bps: 8 }])).toBeNull();
  expect(said(drives, [{ bps: 5 }, {}, { bps: 5 }])).toContain("bps is 5, and was 8");
});
