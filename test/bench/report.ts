/** The samples as Markdown, ready for the README. */
import type { Contender } from "./contender.ts";
import type { Input } from "./inputs.ts";
import type { Sample, SideCost } from "./sample.ts";
import { median } from "./statistics.ts";

const mib = 2 ** 20;

/** The table of one input: a row a contender, medians over its rounds, times as multiples of ours. */
export function inputTable(
  input: Input,
  contenders: readonly Contender[],
  samples: readonly Sample[],
): string {
  const secondsOf = (name: string): number | undefined => middle(samples, input.name, name, (s) => s.seconds);
  const ours = secondsOf("ours");
  const head = [
    "",
    "seconds (least–most)",
    "MiB/s",
    ...(ours === undefined ? [] : ["time / ours"]),
    "CPU s source",
    "CPU s destination",
    "MiB on the wire",
    "peak MiB source",
    "peak MiB destination",
  ];
  const rows = contenders.flatMap((contender) => {
    const own = samples.filter((s) => s.input === input.name && s.contender === contender.name);
    if (own.length === 0) return [];
    const seconds = own.map((s) => s.seconds);
    const side = (
      pick: (sample: Sample) => SideCost | undefined,
      figure: (cost: SideCost) => number,
    ): string => {
      const costs = own.flatMap((s) => pick(s) ?? []);
      return costs.length === 0 ? "–" : figures(median(costs.map(figure)));
    };
    const cpuSeconds = (cost: SideCost): number => (cost.userMs + cost.systemMs) / 1000;
    const peakMib = (cost: SideCost): number => cost.peakBytes / mib;
    const hasWire = own.some((s) => s.destination !== undefined);
    return [
      [
        contender.title,
        `${figures(median(seconds))} (${figures(Math.min(...seconds))}–${figures(Math.max(...seconds))})`,
        (input.bytes / mib / median(seconds)).toFixed(0),
        ...(ours === undefined ? [] : [(median(seconds) / ours).toFixed(2)]),
        side((s) => s.source, cpuSeconds),
        side((s) => s.destination, cpuSeconds),
        hasWire ? (median(own.map((s) => s.reportedWireBytes ?? s.loopbackBytes)) / mib).toFixed(0) : "–",
        side((s) => s.source, peakMib),
        side((s) => s.destination, peakMib),
      ],
    ];
  });
  const rule = ["---", ...head.slice(1).map(() => "---:")];
  const lines = [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return [`**${input.name}**: ${input.title}; ${(input.bytes / mib).toFixed(0)} MiB`, "", ...lines].join(
    "\n",
  );
}

interface Aim {
  sentence: string;
  /** Undefined where what it needs was not measured. */
  measured: number | undefined;
  atLeast?: number;
  atMost?: number;
}

/** Each aim with what was measured, as a list; those that lack samples are left out. */
export function aimList(samples: readonly Sample[]): string {
  const ratio = (input: string, over: string, under: string, figure = (s: Sample): number => s.seconds) => {
    const [above, below] = [middle(samples, input, over, figure), middle(samples, input, under, figure)];
    return above === undefined || below === undefined ? undefined : above / below;
  };
  const cpu = ({ source, destination }: Sample): number =>
    source.userMs + source.systemMs + (destination?.userMs ?? 0) + (destination?.systemMs ?? 0);
  const aims: Aim[] = [
    { sentence: "random bytes: ssh / ours, time", measured: ratio("random", "ssh", "ours"), atLeast: 1.5 },
    {
      sentence: "random bytes: rsync / ours, time",
      measured: ratio("random", "rsync", "ours"),
      atLeast: 2.3,
    },
    { sentence: "guest RAM: ssh / ours, time", measured: ratio("ram", "ssh", "ours"), atLeast: 3 },
    {
      sentence: "plain RAM image: ssh / ours, time",
      measured: ratio("ram-image", "ssh", "ours"),
      atLeast: 3,
    },
    {
      sentence: "random bytes: secure / insecure, time",
      measured: ratio("random", "ours", "ours-insecure"),
      atMost: 1.5,
    },
    {
      sentence: "random bytes: secure / insecure, CPU of both sides",
      measured: ratio("random", "ours", "ours-insecure", cpu),
      atMost: 1.5,
    },
  ];
  return aims
    .flatMap(({ sentence, measured, atLeast, atMost }) => {
      if (measured === undefined) return [];
      const met =
        (atLeast === undefined || measured >= atLeast) && (atMost === undefined || measured <= atMost);
      const aim = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
      return [`- ${sentence}: ${measured.toFixed(2)} (aim: ${aim}${met ? ", met" : ", **short**"})`];
    })
    .join("\n");
}

function middle(
  samples: readonly Sample[],
  input: string,
  contender: string,
  figure: (sample: Sample) => number,
): number | undefined {
  const own = samples.filter((s) => s.input === input && s.contender === contender);
  return own.length === 0 ? undefined : median(own.map(figure));
}

/** Three figures are all that such a measurement bears. */
function figures(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
