import { describe, expect, test } from "bun:test";
import type { MigrationEvent } from "../../src/migration/report/events.ts";
import { columnsOf, plainStyle } from "../../src/terminal/line.ts";
import { drawProgress, summaryOf } from "../../src/terminal/progress.ts";
import {
  noProgress,
  type ProgressState,
  progressAfter,
  timeLeftMs,
} from "../../src/terminal/progress-state.ts";
import { after, ram } from "./events.ts";

const MiB = 1024 ** 2;
type Progress = Extract<MigrationEvent, { event: "progress" }>;

/** Progress of a VM with a RAM file of 256 MiB and a disk of 1 GiB. */
function progress(seconds: number, ramMiB: number, diskMiB: number, more: Partial<Progress> = {}): Progress {
  return {
    event: "progress",
    session: "s1",
    name: "web1",
    phase: "pre-copy",
    files: [
      { file: "web1.ram", bytes: 256 * MiB, doneBytes: ramMiB * MiB },
      { file: "web1.qcow2", bytes: 1024 * MiB, doneBytes: diskMiB * MiB },
    ],
    bytes: 1280 * MiB,
    doneBytes: (ramMiB + diskMiB) * MiB,
    wireBytes: ((ramMiB + diskMiB) / 2) * MiB,
    savedBytes: ((ramMiB + diskMiB) / 4) * MiB,
    seconds,
    ...more,
  };
}

const screen = { columns: 80, rows: 24, style: plainStyle };

describe("drawing", () => {
  test("a session: its phase, a bar a file, one for all, and the rates", () => {
    const state = after(progress(0, 0, 0), progress(1, 128, 72));
    expect(drawProgress(state, screen, 0)).toEqual([
      "web1: pre-copy",
      "  web1.ram    ###############----------------   50 %  128.0 MiB of 256.0 MiB",
      "  web1.qcow2  ##-----------------------------    7 %  72.0 MiB of 1.0 GiB",
      "  total       ####---------------------------   15 %  200.0 MiB of 1.3 GiB",
      "  200.0 MiB/s, on the wire 100.0 MiB/s, saved 50.0 MiB, 6 s left",
    ]);
  });

  test("with unicode and colours, without a change in width", () => {
    const state = after(progress(0, 0, 0), progress(1, 256, 0));
    const plain = drawProgress(state, screen, 0);
    const rich = drawProgress(state, { ...screen, style: { colour: true, unicode: true } }, 0);
    expect(rich.map(columnsOf)).toEqual(plain.map(columnsOf));
    expect(rich[1]).toContain("\u001b[32m█");
  });

  test.each([1, 2, 5, 10, 20, 33, 40, 60, 79, 80, 81, 120, 300])(
    "no line is wider than %d columns",
    (columns) => {
      const name = `${"長い名前".repeat(20)}\n`;
      const long = progress(1, 10, 10, { name, files: [{ file: name, bytes: 1, doneBytes: 1 }] });
      const running = after(progress(0, 0, 0), progress(1, 128, 72), ram({ throttlePercent: 20 }));
      for (const state of [running, after(long)])
        for (const unicode of [true, false])
          for (const line of drawProgress(state, { columns, rows: 24, style: { colour: false, unicode } }, 0))
            expect(columnsOf(line)).toBeLessThanOrEqual(Math.max(1, columns - 1));
    },
  );

  test("of many files six are shown, those that are not through first, and the rest is counted", () => {
    const files = Array.from({ length: 20 }, (_, at) => ({
      file: `disk${at}`,
      bytes: 10,
      doneBytes: at < 17 ? 10 : 5,
    }));
    const lines = drawProgress(after(progress(0, 0, 0, { files })), screen, 0);
    const names = lines.map((line) => line.trim().split(" ")[0]);
    expect(names.join(" ")).toBe("web1: disk0 disk1 disk2 disk17 disk18 disk19 ... total");
    expect(lines[7]).toBe("  ... and 14 more");
  });

  test("where no bar fits the figures stand below each other", () => {
    const state = after(progress(0, 0, 0), progress(1, 256, 0));
    const lines = drawProgress(state, { ...screen, columns: 44 }, 0).slice(1, 4);
    expect(lines.map((line) => line.indexOf("%"))).toEqual([18, 18, 18]);
  });

  test("several sessions share the screen, and a small one still leaves a row for the cursor", () => {
    const state = after(
      ...Array.from({ length: 8 }, (_, at) => progress(0, at, 0, { session: `s${at}`, name: `vm${at}` })),
    );
    for (const rows of [2, 3, 6, 10, 20, 24, 60]) {
      const lines = drawProgress(state, { ...screen, rows }, 0);
      expect(lines.length).toBeLessThanOrEqual(rows - 1);
    }
    const few = drawProgress(state, { ...screen, rows: 4 }, 0);
    expect(few[0]).toStartWith("vm0: pre-copy, 0 %");
    expect(few.at(-1)).toBe("... and 6 more");
  });

  test("a lost link shows why and when it is tried again, until it is back", () => {
    const lost: MigrationEvent = {
      event: "link",
      session: "s1",
      name: "web1",
      state: "lost",
      message: "reset\u001b",
      attempt: 3,
      retryInMs: 4000,
    };
    const state = after(progress(0, 0, 0), progress(1, 128, 72), lost);
    expect(drawProgress(state, screen, 1500).at(-1)).toBe(
      "  link lost (reset?), trying again in 3.0 s (attempt 3)",
    );
    expect(drawProgress(state, screen, 9000).at(-1)).toBe("  link lost (reset?), trying again (attempt 3)");
    const counting = progressAfter(state, progress(59, 129, 72), 0);
    expect(drawProgress(counting, screen, 1500).at(-1)).toStartWith("  link lost (reset?)");
    const back = after(...[progress(0, 0, 0), progress(1, 128, 72), lost, progress(59, 129, 72)], {
      ...lost,
      state: "restored",
    });
    expect(drawProgress(progressAfter(back, progress(60, 130, 72), 0), screen, 0).at(-1)).toStartWith(
      "  200.0 MiB/s",
    );
  });

  test("of a lost stream no attempt is counted, and it does not hide when the connection is tried again", () => {
    const ofStream: MigrationEvent = {
      ...{ event: "link", session: "s1", name: "web1", state: "lost", message: "reset" },
      ...{ attempt: 0, retryInMs: 0 },
    };
    const state = after(progress(0, 0, 0), ofStream);
    expect(drawProgress(state, screen, 0).at(-1)).toBe("  link lost (reset), trying again");
    const ofControl = { ...ofStream, message: "silence", attempt: 2, retryInMs: 4000 };
    for (const both of [after(ofStream, ofControl), after(ofControl, ofStream)])
      expect(drawProgress(both, screen, 0).at(-1)).toBe(
        "  link lost (silence), trying again in 4.0 s (attempt 2)",
      );
  });

  test("one line for logs", () => {
    const view = after(progress(0, 0, 0), progress(1, 128, 72)).get("s1");
    expect(summaryOf(view as NonNullable<typeof view>, 0)).toBe(
      "web1: pre-copy, 15 %, 200.0 MiB of 1.3 GiB, 200.0 MiB/s, on the wire 100.0 MiB/s, saved 50.0 MiB, 6 s left",
    );
  });
});

describe("the state", () => {
  test("bars never run backwards, whatever order events come in", () => {
    const seed = Number(Bun.env.TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
    let random = seed;
    const next = (below: number) => {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
      return random % below;
    };
    let state: ProgressState = noProgress;
    let before = state.get("s1");
    for (let step = 0; step < 500; step += 1) {
      state = progressAfter(state, progress(next(100), next(257), next(1025)), 0);
      const view = state.get("s1");
      if (view === undefined) throw new Error(`no view, seed ${seed}`);
      const drop =
        before !== undefined &&
        (view.doneBytes < before.doneBytes ||
          view.savedBytes < before.savedBytes ||
          view.files.some((file, at) => file.doneBytes < (before?.files[at]?.doneBytes ?? 0)));
      if (drop) throw new Error(`a bar ran backwards, seed ${seed}`);
      before = view;
    }
  });

  test("the rate is smoothed: one burst does not turn the time left upside down", () => {
    const events = Array.from({ length: 20 }, (_, at) => progress(at, 0, at * 10));
    const steady = after(...events).get("s1");
    expect(steady?.rateBytesPerSec).toBeCloseTo(10 * MiB, -3);
    const burst = after(...events, progress(20, 0, 390)).get("s1");
    expect(burst?.rateBytesPerSec ?? 0).toBeGreaterThan(40 * MiB);
    expect(burst?.rateBytesPerSec ?? 0).toBeLessThan(60 * MiB);
  });

  test("samples that come too fast wait for the next one", () => {
    const view = after(progress(0, 0, 0), progress(0.1, 0, 100), progress(1, 0, 100)).get("s1");
    expect(view?.rateBytesPerSec).toBe(100 * MiB);
    expect(after(progress(0, 0, 0), progress(0.1, 0, 100)).get("s1")?.rateBytesPerSec).toBeUndefined();
  });

  test("time left is not said before there is a rate, nor when nothing is left", () => {
    const views = [after(progress(0, 0, 0)), after(progress(0, 0, 0), progress(9, 256, 1024))].map((state) =>
      state.get("s1"),
    );
    expect(views.map((view) => view && timeLeftMs(view))).toEqual([undefined, undefined]);
  });

  test("a session leaves the screen when it is done or has failed, and others stay", () => {
    const two = after(progress(0, 0, 0), progress(0, 0, 0, { session: "s2" }));
    const failed: MigrationEvent = {
      event: "error",
      code: "network",
      side: "source",
      phase: "seal",
      message: "gone",
      session: "s2",
    };
    expect([...progressAfter(two, failed, 0).keys()]).toEqual(["s1"]);
    expect(progressAfter(two, { event: "notice", message: "x" }, 0)).toBe(two);
  });
});
