/** All figures of a profile. Pure. */
import { inMiB, type Setting, settingsOf, settingWords } from "../statistics/cells.ts";
import type { Samples } from "../statistics/samples.ts";
import { cpuFigure } from "./cpu-figure.ts";
import type { Figure } from "./figure.ts";
import { timeFigure } from "./time-figure.ts";

/**
 * The figures that these samples have data for, numbered as the thesis numbers them; of each setting
 * (engine, without a disk or with one of some size) those of its two sides and of its total time.
 */
export function figuresOf(samples: Samples): Figure[] {
  const settings = settingsOf(samples.samples);
  return settings.flatMap((setting) => {
    const [ofSource, ofDestination] = setting.diskBytes === 0 ? ["6.1", "6.2"] : ["6.3", "6.4"];
    const suffix = suffixOf(setting, settings);
    const words = settingWords(setting);
    const cpu = (number: string, side: "source" | "destination") =>
      cpuFigure(setting, side, {
        id: `figure-${number.replace(".", "-")}${suffix}`,
        title: `Figure ${number}: CPU time of the ${side} by operation, ${words}`,
      });
    const time = timeFigure(setting, {
      id: `total-time-${setting.diskBytes === 0 ? "without" : "with"}-disk${suffix}`,
      title: `Total migration time by RAM size, ${words}`,
    });
    return [cpu(ofSource!, "source"), cpu(ofDestination!, "destination"), time].filter(
      (figure) => figure !== undefined,
    );
  });
}

/** What tells the figures of a setting from those of the others, for file names. */
function suffixOf({ engine, diskBytes }: Setting, settings: readonly Setting[]): string {
  const disks = settings.filter((other) => other.engine === engine && other.diskBytes > 0);
  const disk = diskBytes > 0 && disks.length > 1 ? `-${inMiB(diskBytes).replace(".", "-")}` : "";
  return `${disk}${engine === "full" ? "-full" : ""}`;
}
