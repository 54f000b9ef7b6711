/** Raw samples as CSV, a line a run, for a spreadsheet or another program. Pure. */

import { csvLines } from "../notation/table.ts";
import { sideNames } from "../statistics/cells.ts";
import { operations, type Sample, type Samples } from "../statistics/samples.ts";

interface CsvColumn {
  title: string;
  of: (sample: Sample) => string | number | undefined;
}

const columns: readonly CsvColumn[] = [
  { title: "order", of: (sample) => sample.order },
  { title: "suite", of: (sample) => sample.suite },
  { title: "engine", of: (sample) => sample.engine },
  { title: "ram_bytes", of: (sample) => sample.ramBytes },
  { title: "disk_bytes", of: (sample) => sample.diskBytes },
  { title: "wire_bytes", of: (sample) => sample.wireBytes },
  { title: "total_ms", of: (sample) => sample.totalMs },
  { title: "suspend_ms", of: (sample) => sample.suspendMs },
  { title: "resume_ms", of: (sample) => sample.resumeMs },
  { title: "setup_wall_ms", of: ({ setup }) => setup.wallMs },
  { title: "setup_source_cpu_ms", of: ({ setup }) => setup.sourceCpuMs },
  { title: "setup_destination_cpu_ms", of: ({ setup }) => setup.destinationCpuMs },
  ...sideNames.flatMap((side): CsvColumn[] => [
    { title: `${side}_user_ms`, of: (sample) => sample[side].userMs },
    { title: `${side}_system_ms`, of: (sample) => sample[side].systemMs },
    { title: `${side}_thread_user_ms`, of: (sample) => sample[side].threadUserMs },
    { title: `${side}_thread_system_ms`, of: (sample) => sample[side].threadSystemMs },
    { title: `${side}_clock_ms`, of: (sample) => sample[side].clockMs },
    { title: `${side}_clock_reads`, of: (sample) => sample[side].clockReads },
    ...operations.map(
      (operation): CsvColumn => ({
        title: `${side}_${operation.replaceAll("-", "_")}_ms`,
        of: (sample) => sample[side].operationsMs[operation],
      }),
    ),
  ]),
];

/**
 * The samples in the order in which they were measured. Milliseconds and bytes in full precision, a decimal
 * point whatever the locale, an empty field for what an older profile did not measure. No text of a
 * stranger's goes in: every field is a number or one of our own names.
 */
export function samplesCsv(samples: Samples): string {
  const rows = samples.samples
    .toSorted((a, b) => a.order - b.order)
    .map((sample) => columns.map(({ of }) => String(of(sample) ?? "")));
  return csvLines([columns.map(({ title }) => title), ...rows]);
}
