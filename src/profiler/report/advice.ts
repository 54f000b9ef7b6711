/** The conclusion of a report: what security costs on these hosts, and what to choose. Pure. */

import { list, percent, ratioText, seconds } from "../notation/notation.ts";
import {
  type Cell,
  cellAt,
  cpuMs,
  inMiB,
  type Setting,
  type SideName,
  settingsOf,
  settingWords,
  sideNames,
} from "../statistics/cells.ts";
import type { Samples, SuiteName } from "../statistics/samples.ts";
import { difference, type Estimate, fewestRuns, holdsOne, mean, ratio } from "../statistics/statistics.ts";

/** Up to this many times insecure's CPU, the secure path is called cheap: what this program aims at. */
const cheapRatio = 1.5;
/** Up to this part more of total time, security is called free of waiting. */
const cheapTimePart = 0.05;

/**
 * For someone who skips the tables: one paragraph with the cost and the choice, and a second one with what else
 * is to be known, if there is any. It is about the largest RAM size with the least disk of the
 * thesis's engine (or else of the product's own), and names what it does not know.
 */
export function profileAdvice(samples: Samples): string[] {
  const spoken = settingsOf(samples.samples)
    .flatMap((setting) => setting.ramBytes.map((ramBytes) => ({ setting, ramBytes })))
    .filter(({ setting, ramBytes }) => pairAt(setting, ramBytes) !== undefined);
  const first = spoken[0]?.setting;
  const place = spoken.findLast(({ setting }) => setting === first);
  const pair = place === undefined ? undefined : pairAt(place.setting, place.ramBytes);
  if (place === undefined || pair === undefined)
    return [
      "What security costs on these hosts cannot be said: it takes both tls and insecure at one size (`--suites insecure,tls`). `migrate send` encrypts and authenticates all the same; nothing here speaks for leaving that out.",
    ];
  const { tls, insecure } = pair;
  const moved = `${inMiB(place.ramBytes)} MiB of RAM ${settingWords(place.setting)}`;
  const short = [
    cpuSentence(moved, tls, insecure),
    timeSentence(tls, insecure),
    linkSentence(tls, insecure),
    choice(tls, insecure, samples.environment.link === "loopback"),
  ];
  const besides = [
    ...otherSuites(place.setting, place.ramBytes, insecure),
    ...caveats(samples, tls, insecure),
  ];
  return [short, besides].filter(({ length }) => length > 0).map((sentences) => sentences.join(" "));
}

function cpuSentence(moved: string, tls: Cell, insecure: Cell): string {
  const side = (name: SideName) => {
    const [over, under] = [cpu(tls, name), cpu(insecure, name)];
    const found = ratio(over, under);
    const added = mean(over) - mean(under);
    const seen = holdsOne(found) ? ", no significant difference" : "";
    return `${ratioText(found.value)} times the CPU of insecure on the ${name} (${spread(found)}${seen}; ${added < 0 ? "" : "+"}${seconds(added)} s)`;
  };
  return `On these hosts, moving ${moved} with tls (authenticated, encrypted, checked) costs ${side("source")} and ${side("destination")}.`;
}

function timeSentence(tls: Cell, insecure: Cell): string {
  const [over, under] = [total(tls), total(insecure)];
  const found = ratio(over, under);
  const both = `It takes ${seconds(mean(over))} s in all where insecure takes ${seconds(mean(under))} s`;
  if (found.interval === undefined) return `${both}.`;
  if (holdsOne(found)) return `${both}: no significant difference.`;
  const word = found.value > 1 ? "longer" : "less";
  return `${both}: ${percent(Math.abs(found.value - 1))} ${word}.`;
}

/** Up to which link speed one core on each side keeps up: what a loopback run can say of a real link. */
function linkSentence(tls: Cell, insecure: Cell): string {
  const gigabits = (cell: Cell) => {
    const busiestMs = Math.max(mean(cpu(cell, "source")), mean(cpu(cell, "destination")));
    return ((cell.ramBytes + cell.diskBytes) * 8) / (Math.max(busiestMs, 0.001) / 1000) / 1e9;
  };
  return `One core on each side carries ${ratioText(gigabits(tls))} Gbit/s with tls and ${ratioText(gigabits(insecure))} Gbit/s without: on a slower link, the link is what one waits for, not the cryptography.`;
}

/**
 * What to choose: secure in every case, as no figure makes up for what insecure gives up; but the price is named.
 * On loopback there is no link to wait for, so the CPU alone decides.
 */
function choice(tls: Cell, insecure: Cell, onLoopback: boolean): string {
  const choose = "which is what `migrate send` does by itself";
  const dearest = Math.max(...sideNames.map((side) => ratio(cpu(tls, side), cpu(insecure, side)).value));
  const waiting = ratio(total(tls), total(insecure));
  const noWait = onLoopback || waiting.value - 1 <= cheapTimePart || holdsOne(waiting);
  if (dearest <= cheapRatio && noWait)
    return `Choose tls, ${choose}: security is cheap here, and there is nothing to gain by leaving it out.`;
  if (noWait)
    return `Choose tls, ${choose}: it costs CPU, but ${onLoopback ? "on a link slower than that" : "on this link"} nobody waits longer for it.`;
  const savedMs = difference(total(tls), total(insecure)).value;
  return `Choose tls all the same, ${choose}: insecure would save ${seconds(savedMs)} s on such a VM, and gives up secrecy, integrity and knowing who is at the other end. Only on a link that nobody else can reach is that a fair exchange.`;
}

function otherSuites(setting: Setting, ramBytes: number, insecure: Cell): string[] {
  const times = (suites: readonly SuiteName[]) =>
    suites.flatMap((suite) => {
      const cell = cellAt(setting, ramBytes, suite);
      if (cell === undefined) return [];
      return [`${suite} ${ratioText(ratio(cpu(cell, "source"), cpu(insecure, "source")).value)}`];
    });
  const old = times(["aes-128", "rc4", "3des"]);
  const modern = times(["aes-128-gcm", "chacha20-poly1305"]);
  return [
    ...(old.length === 0
      ? []
      : [
          `The thesis's ciphers (times insecure on the source: ${list(old)}) protect less than tls does and stand here for comparison alone.`,
        ]),
    ...(modern.length === 0
      ? []
      : [
          `The modern ciphers by themselves cost ${list(modern)} times insecure on the source (chacha20-poly1305 runs in a portable engine, which native code would outrun).`,
        ]),
  ];
}

function caveats(samples: Samples, tls: Cell, insecure: Cell): string[] {
  const few = Math.min(tls.samples.length, insecure.samples.length) < fewestRuns;
  return [
    ...(few
      ? [`With fewer than ${fewestRuns} runs these are hints: \`--runs ${fewestRuns}\` gives intervals.`]
      : []),
    ...(samples.environment.link === "loopback"
      ? [
          "Source and destination ran on one host, without a link between them; `--to HOST:PORT` measures one.",
        ]
      : []),
    ...(samples.partial ? ["The profile was cut short."] : []),
  ];
}

function pairAt(setting: Setting, ramBytes: number): { tls: Cell; insecure: Cell } | undefined {
  const tls = cellAt(setting, ramBytes, "tls");
  const insecure = cellAt(setting, ramBytes, "insecure");
  return tls === undefined || insecure === undefined ? undefined : { tls, insecure };
}

function spread({ interval }: Estimate): string {
  return interval === undefined
    ? "too few runs for an interval"
    : `95 % interval ${ratioText(interval.low)} to ${ratioText(interval.high)}`;
}

function cpu(cell: Cell, side: SideName): number[] {
  return cell.samples.map((sample) => cpuMs(sample[side]));
}

function total(cell: Cell): number[] {
  return cell.samples.map(({ totalMs }) => totalMs);
}
