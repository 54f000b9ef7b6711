/** What the project aims at, held against the samples. */
import type { Contender } from "./contender.ts";
import type { Input } from "./inputs.ts";
import type { LinkName } from "./link.ts";
import { mostPeakBytes } from "./report.ts";
import type { Sample } from "./sample.ts";
import { median } from "./statistics.ts";

interface Aim {
  sentence: string;
  /** Undefined where what it needs was not measured. */
  measured: number | undefined;
  atLeast?: number;
  atMost?: number;
}

const mib = 2 ** 20;
/** What is lost to the overhead of a link that is full. */
const mostOfTheLink = 1.02;

/** Each aim with what was measured, as a list; those that lack samples are left out. */
export function aimList(
  inputs: readonly Input[],
  contenders: readonly Contender[],
  samples: readonly Sample[],
): string {
  const at = (input: string, link: LinkName) => new Standing(input, link, contenders, samples);
  const random = at("random", "loopback");
  const aims: Aim[] = [
    ...inputs.flatMap((input) => gigabitAims(input, at(input.name, "gigabit"))),
    {
      sentence: "random, loopback: ours / ours-insecure, time",
      measured: random.ratio("ours", "ours-insecure"),
      atMost: 1.3,
    },
    {
      sentence: "random, gigabit: ours / plain-tcp, time",
      measured: at("random", "gigabit").ratio("ours", "plain-tcp"),
      atMost: mostOfTheLink,
    },
    ...inputs.map(({ name }) => ({
      sentence: `${name}, loopback: ours / ours-off, time`,
      measured: at(name, "loopback").ratio("ours", "ours-off"),
      atMost: 1.03,
    })),
    ...earlierAims(random, at("ram", "loopback"), at("ram-image", "loopback")),
  ];
  return [...aims.flatMap(line), ...memoryLine(contenders, samples)].join("\n");
}

function gigabitAims(input: Input, standing: Standing): Aim[] {
  if (input.name === "random" || input.name === "disk") return [];
  const atLeast = input.before?.kind === "base" ? 10 : 2;
  const best = standing.bestPeer();
  const variants = ["ours", ...(input.before === undefined ? [] : ["ours-base"])];
  return variants.map((ours) => ({
    sentence: `${input.name}, gigabit: best peer (${best}) / ${ours}, time`,
    measured: best === undefined ? undefined : standing.ratio(best, ours),
    atLeast,
  }));
}

/** Those of the first version, which hold still. */
function earlierAims(random: Standing, ram: Standing, ramImage: Standing): Aim[] {
  return [
    { sentence: "random, loopback: ssh / ours, time", measured: random.ratio("ssh", "ours"), atLeast: 1.5 },
    {
      sentence: "random, loopback: rsync / ours, time",
      measured: random.ratio("rsync", "ours"),
      atLeast: 2.3,
    },
    { sentence: "ram, loopback: ssh / ours, time", measured: ram.ratio("ssh", "ours"), atLeast: 3 },
    {
      sentence: "ram-image, loopback: ssh / ours, time",
      measured: ramImage.ratio("ssh", "ours"),
      atLeast: 3,
    },
    {
      sentence: "random, loopback: ours / ours-insecure, CPU of both sides",
      measured: random.ratio("ours", "ours-insecure", cpuMs),
      atMost: 1.5,
    },
  ];
}

const cpuMs = ({ source, destination }: Sample): number => source.cpuMs + (destination?.cpuMs ?? 0);
const seconds = (sample: Sample): number => sample.seconds;

/** How the contenders stand to each other on one input over one link. */
class Standing {
  constructor(
    private readonly input: string,
    private readonly link: LinkName,
    private readonly contenders: readonly Contender[],
    private readonly samples: readonly Sample[],
  ) {}

  /** The median of one contender as a multiple of another's; undefined where one of them did not run. */
  ratio(over: string, under: string, figure = seconds): number | undefined {
    const [above, below] = [this.#middle(over, figure), this.#middle(under, figure)];
    return above === undefined || below === undefined ? undefined : above / below;
  }

  /** The name of the fastest peer; undefined where none ran. */
  bestPeer(): string | undefined {
    const peers = this.contenders.flatMap(({ name, role }) => {
      const middle = role === "peer" ? this.#middle(name, seconds) : undefined;
      return middle === undefined ? [] : [{ name, middle }];
    });
    return peers.sort((a, b) => a.middle - b.middle)[0]?.name;
  }

  #middle(contender: string, figure: (sample: Sample) => number): number | undefined {
    const own = this.samples.filter(
      (s) => s.input === this.input && s.link === this.link && s.contender === contender,
    );
    return own.length === 0 ? undefined : median(own.map(figure));
  }
}

function line({ sentence, measured, atLeast, atMost }: Aim): string[] {
  if (measured === undefined) return [];
  const met = (atLeast === undefined || measured >= atLeast) && (atMost === undefined || measured <= atMost);
  const aim = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
  return [`- ${sentence}: ${measured.toFixed(2)} (aim: ${aim}${met ? ", met" : ", **missed**"})`];
}

/** The greatest memory that a process of ours took in any run. */
function memoryLine(contenders: readonly Contender[], samples: readonly Sample[]): string[] {
  const ours = contenders.filter(({ role }) => role === "ours").map(({ name }) => name);
  const peaks = samples
    .filter(({ contender }) => ours.includes(contender))
    .flatMap((sample) => {
      const where = `${sample.contender} on ${sample.input}, ${sample.link}`;
      return [sample.source, ...(sample.destination === undefined ? [] : [sample.destination])].map(
        ({ peakBytes }) => ({ peakBytes, where }),
      );
    });
  const greatest = peaks.sort((a, b) => b.peakBytes - a.peakBytes)[0];
  if (greatest === undefined) return [];
  const verdict = greatest.peakBytes < mostPeakBytes ? "met" : "**missed**";
  const measured = `${(greatest.peakBytes / mib).toFixed(0)} MiB (${greatest.where})`;
  return [
    `- greatest memory of a process of ours: ${measured} (aim: under ${mostPeakBytes / mib} MiB, ${verdict})`,
  ];
}
