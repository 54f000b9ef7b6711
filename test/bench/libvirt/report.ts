/** The samples as Markdown. */
import { median } from "../statistics.ts";
import type { LibvirtContender } from "./contender.ts";
import type { LibvirtSample } from "./sample.ts";

type Figure = (sample: LibvirtSample) => number | undefined;

const seconds: Figure = (sample) => sample.seconds;
const downtimeMs: Figure = (sample) => sample.downtimeMs;
const wireMiB: Figure = ({ wireBytes }) => wireBytes / 2 ** 20;
const cpuSeconds: Figure = ({ sourceCpuMs, destinationCpuMs }) => (sourceCpuMs + destinationCpuMs) / 1000;

/**
 * The table of one domain over one link: a row a way, medians (least–most), and the medians as multiples of the first
 * way's that ran. Empty if none did.
 */
export function domainTable(
  title: string,
  contenders: readonly LibvirtContender[],
  samples: readonly LibvirtSample[],
): string {
  const ran = contenders.filter(({ name }) => samples.some(({ contender }) => contender === name));
  const first = ran[0]?.name;
  if (first === undefined) return "";
  const head = [
    "",
    "seconds",
    "×",
    "downtime ms",
    "×",
    "MiB on the wire",
    "×",
    "CPU s source",
    "CPU s destination",
    "×",
  ];
  const rows = ran.map(({ name, title: way }) => {
    const own = samples.filter(({ contender }) => contender === name);
    const times = (figure: Figure): string => ratio(samples, name, first, figure)?.toFixed(2) ?? "–";
    return [
      way,
      ...[spread(own, seconds), times(seconds)],
      ...[spread(own, downtimeMs), times(downtimeMs)],
      ...[spread(own, wireMiB), times(wireMiB)],
      spread(own, ({ sourceCpuMs }) => sourceCpuMs / 1000),
      spread(own, ({ destinationCpuMs }) => destinationCpuMs / 1000),
      times(cpuSeconds),
    ];
  });
  const rule = ["---", ...head.slice(1).map(() => "---:")];
  const lines = [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return [`**${title}**`, "", ...lines].join("\n");
}

/** Each aim of the project with what was measured, as a list; those that lack samples are left out. */
export function aimList(samples: readonly LibvirtSample[]): string {
  const at = (domain: string, link: string): LibvirtSample[] =>
    samples.filter((sample) => sample.domain === domain && sample.link === link);
  const aims = ["idle", "writing"].flatMap((domain) => {
    const [loopback, gigabit] = [at(domain, "loopback"), at(domain, "gigabit")];
    return [
      {
        sentence: `${domain}, loopback: plain virsh migrate / ours, time`,
        measured: ratio(loopback, "tcp", "ours", seconds),
        ...{ holds: (value: number) => value >= 1, aim: "at least 1" },
      },
      {
        sentence: `${domain}, gigabit: virsh migrate --tls / ours, time`,
        measured: ratio(gigabit, "tls", "ours", seconds),
        ...{ holds: (value: number) => value >= 1.5, aim: "at least 1.5" },
      },
      ...(["loopback", "gigabit"] as const).map((link) => ({
        sentence: `${domain}, ${link}: ours / plain virsh migrate, downtime`,
        measured: ratio(at(domain, link), "ours", "tcp", downtimeMs),
        ...{ holds: (value: number) => value <= 1.2, aim: "at most 1.2" },
      })),
    ];
  });
  return aims
    .flatMap(({ sentence, measured, holds, aim }) =>
      measured === undefined
        ? []
        : [`- ${sentence}: ${measured.toFixed(2)} (aim: ${aim}${holds(measured) ? ", met" : ", **short**"})`],
    )
    .join("\n");
}

function middle(samples: readonly LibvirtSample[], contender: string, figure: Figure): number | undefined {
  const own = samples.filter((sample) => sample.contender === contender);
  const values = own.flatMap((sample) => figure(sample) ?? []);
  return values.length === 0 ? undefined : median(values);
}

function ratio(
  samples: readonly LibvirtSample[],
  over: string,
  under: string,
  figure: Figure,
): number | undefined {
  const [above, below] = [middle(samples, over, figure), middle(samples, under, figure)];
  return above === undefined || below === undefined ? undefined : above / below;
}

function spread(samples: readonly LibvirtSample[], figure: Figure): string {
  const values = samples.flatMap((sample) => figure(sample) ?? []);
  if (values.length === 0) return "–";
  return `${figures(median(values))} (${figures(Math.min(...values))}–${figures(Math.max(...values))})`;
}

/** Three figures are all that such a measurement bears. */
function figures(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
