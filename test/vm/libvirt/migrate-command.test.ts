/** libvirt's figures of a migration, as virsh prints them. */
import { expect, test } from "bun:test";
import { figuresIn } from "../../../src/vm/libvirt/migrate-command.ts";

const said = `Job type: 2
time_elapsed: 1234
downtime: 300
data_total: 1000
memory_total: 168312832
memory_processed: 59077224
memory_remaining: 66445312
memory_bps: 1048576
memory_dirty_rate: 10
memory_page_size: 4096
memory_iteration: 3
disk_total: 67108864
disk_processed: 1024
auto_converge_throttle: 20
`;

test("figures are read by their names", () => {
  expect(figuresIn(said)).toEqual({
    ram: {
      iteration: 3,
      remainingBytes: 66445312,
      transferredBytes: 59077224,
      totalBytes: 168312832,
      dirtyBytesPerSec: 40960,
      bandwidthBytesPerSec: 1048576,
      expectedDowntimeMs: 300,
      throttlePercent: 20,
    },
    diskDoneBytes: 1024,
    diskTotalBytes: 67108864,
  });
});

test("a job that has no figures yet, or none at all, has none", () => {
  expect(figuresIn("Job type: 0\n\n")).toBeNull();
  expect(figuresIn("")).toBeNull();
});
