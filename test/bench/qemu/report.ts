/** The samples as Markdown. */
import { median } from "../statistics.ts";
import type { QemuContender } from "./contender.ts";
import type { QemuSample } from "./sample.ts";

type Figure = (sample: QemuSample) => number | undefined;

const seconds: Figure = (sample) => sample.seconds;
const downtimeMs: Figure = (sample) => sample.downtimeMs;
const wireMiB = ({ wireBytes }: QemuSample): number => wireBytes / 2 ** 20;
const cpuSeconds: Figure = ({ sourceCpuMs, destinationCpuMs }) => (sourceCpuMs + destinationCpuMs) / 1000;

/** The table of one guest on one link: a row a contender, medians (least–most), times and CPU as multiples of ours. */
export function guestTable(
  title: string,
  contenders: readonly QemuContender[],
  samples: readonly QemuSample[],
): string {
  const head = [
    "",
    "seconds",
    "time / ours",
    "own seconds",
    "downtime ms",
    "MiB on the wire",
    "CPU s source",
    "CPU s destination",
    "CPU / ours",
  ];
  const rows = contenders.flatMap((contender) => {
    const own = samples.filter((sample) => sample.contender === contender.name);
    if (own.length === 0) return [];
    return [
      [
        contender.title,
        spread(own, seconds),
        multiple(samples, contender.name, seconds),
        spread(own, (sample) => sample.ownSeconds),
        spread(own, downtimeMs),
        figures(median(own.map(wireMiB))),
        spread(own, (sample) => sample.sourceCpuMs / 1000),
        spread(own, (sample) => sample.destinationCpuMs / 1000),
        multiple(samples, contender.name, cpuSeconds),
      ],
    ];
  });
  const rule = ["---", ...head.slice(1).map(() => "---:")];
  const lines = [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return [`**${title}**`, "", ...lines].join("\n");
}

/**
 * Each aim of the project with what was measured, as a list; those that lack samples are left out.
 * They were set for loopback, and for RAM that nothing makes smaller.
 */
export function aimList(samples: readonly QemuSample[]): string {
  const of = (guest: string): QemuSample[] =>
    samples.filter((sample) => sample.guest === guest && sample.link === "loopback");
  const [full, disk] = [of("random"), of("disk")];
  const aims = ["ours", "ours-multifd"].flatMap((name) => [
    {
      sentence: `QEMU's TLS / ${name}, time`,
      measured: ratio(full, "tls", name, seconds),
      holds: (value: number) => value >= 1.5,
      aim: "at least 1.5",
    },
    {
      sentence: `${name} / QEMU's TLS, CPU of all processes`,
      measured: ratio(full, name, "tls", cpuSeconds),
      holds: (value: number) => value <= 0.8,
      aim: "at most 0.8",
    },
  ]);
  aims.push({
    sentence: "downtime of the guest with a disk, median in ms",
    measured: middle(disk, "ours", downtimeMs),
    holds: (value) => value < 300,
    aim: "under 300",
  });
  return aims
    .flatMap(({ sentence, measured, holds, aim }) =>
      measured === undefined
        ? []
        : [`- ${sentence}: ${figures(measured)} (aim: ${aim}${holds(measured) ? ", met" : ", **short**"})`],
    )
    .join("\n");
}

function middle(samples: readonly QemuSample[], contender: string, figure: Figure): number | undefined {
  const values = samples
    .filter((sample) => sample.contender === contender)
    .flatMap((sample) => figure(sample) ?? []);
  return values.length === 0 ? undefined : median(values);
}

function ratio(
  samples: readonly QemuSample[],
  over: string,
  under: string,
  figure: Figure,
): number | undefined {
  const [above, below] = [middle(samples, over, figure), middle(samples, under, figure)];
  return above === undefined || below === undefined ? undefined : above / below;
}

function multiple(samples: readonly QemuSample[], contender: string, figure: Figure): string {
  return ratio(samples, contender, "ours", figure)?.toFixed(2) ?? "–";
}

function spread(samples: readonly QemuSample[], figure: Figure): string {
  const values = samples.flatMap((sample) => figure(sample) ?? []);
  if (values.length === 0) return "–";
  return `${figures(median(values))} (${figures(Math.min(...values))}–${figures(Math.max(...values))})`;
}

/** Three figures are all that such a measurement bears. */
function figures(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
