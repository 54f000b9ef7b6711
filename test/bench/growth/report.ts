/** How cost grows, as Markdown: a table of medians and the straight line through all samples. */
import { figures, mostPeakBytes } from "../report.ts";
import { median, straightLine } from "../statistics.ts";
import type { Moves } from "./moves.ts";

export interface GrowthSample extends Moves {
  round: number;
  /** What grows: logical MiB of one VM, or how many VMs there are. */
  of: "size" | "vms";
  amount: number;
  /** Bytes that are no holes, all VMs together. */
  dataBytes: number;
}

const [mib, gib] = [2 ** 20, 2 ** 30];

/** The table and the fits of one series; all its samples must be of the same kind. Throws where there are none. */
export function growthTable(title: string, samples: readonly GrowthSample[]): string {
  const amounts = [...new Set(samples.map(({ amount }) => amount))].sort((a, b) => a - b);
  const head = [
    samples[0]?.of === "vms" ? "VMs at once" : "size",
    "data MiB",
    "seconds (least–most)",
    "seconds a GiB of data",
    "CPU s source",
    "CPU s destination",
    "peak MiB of a source",
    "peak MiB destination",
  ];
  const rows = amounts.map((amount) => {
    const own = samples.filter((sample) => sample.amount === amount);
    const of = (figure: (sample: GrowthSample) => number): number => median(own.map(figure));
    const all = own.map(({ seconds }) => seconds);
    const peak = (figure: (sample: GrowthSample) => number): string => {
      const greatest = Math.max(...own.map(figure));
      if (greatest < mostPeakBytes) return figures(of(figure) / mib);
      return `**${figures(greatest / mib)} (over ${mostPeakBytes / mib})**`;
    };
    return [
      nameOf(own[0]!),
      (of(({ dataBytes }) => dataBytes) / mib).toFixed(0),
      `${figures(median(all))} (${figures(Math.min(...all))}–${figures(Math.max(...all))})`,
      figures(of(({ seconds, dataBytes }) => seconds / (dataBytes / gib))),
      figures(of(({ sourceCpuMs }) => sourceCpuMs / 1000)),
      figures(of(({ destinationCpuMs }) => destinationCpuMs / 1000)),
      peak(({ sourcePeakBytes }) => sourcePeakBytes),
      peak(({ destinationPeakBytes }) => destinationPeakBytes),
    ];
  });
  const lines = [head, head.map(() => "---:"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return [`**${title}**`, "", ...lines, ...fits(samples, amounts)].join("\n");
}

function nameOf({ of, amount }: GrowthSample): string {
  if (of === "vms") return String(amount);
  return amount % 1024 === 0 ? `${amount / 1024} GiB` : `${amount} MiB`;
}

function fits(samples: readonly GrowthSample[], amounts: readonly number[]): string[] {
  if (amounts.length < 2) return [];
  const isSize = samples[0]?.of === "size";
  const unit = isSize ? "a GiB of size" : "a VM";
  const lineOf = (what: string, figure: (sample: GrowthSample) => number): string => {
    const points = samples.map((s) => [isSize ? s.amount / 1024 : s.amount, figure(s)] as const);
    const { slope, intercept, rSquared } = straightLine(points);
    return `- ${what}: ${slope.toFixed(3)} s ${unit}, and ${intercept.toFixed(3)} s besides; r² = ${rSquared.toFixed(3)}`;
  };
  const peaks = (figure: (sample: GrowthSample) => number): string => {
    const all = samples.map((sample) => figure(sample) / mib);
    return `${Math.min(...all).toFixed(0)} to ${Math.max(...all).toFixed(0)} MiB`;
  };
  return [
    "",
    "The straight line through all samples (least squares):",
    "",
    lineOf("time", ({ seconds }) => seconds),
    lineOf(
      "CPU of both sides",
      ({ sourceCpuMs, destinationCpuMs }) => (sourceCpuMs + destinationCpuMs) / 1000,
    ),
    `- peak memory of a source: ${peaks(({ sourcePeakBytes }) => sourcePeakBytes)}; of the destination: ${peaks(({ destinationPeakBytes }) => destinationPeakBytes)}`,
  ];
}
