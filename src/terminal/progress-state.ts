/**
 * What the progress display knows of each session: a fold over the migration's events, so that the
 * drawing (progress.ts) is a function of it. Pure; the clock is the events' own `seconds`.
 */
import type { FileProgress, MigrationEvent } from "../migration/report/events.ts";

export interface LinkTrouble {
  message: string;
  /** Which attempt was lost; 0 if it is a stream, which connects again by itself. */
  attempt: number;
  /** When the next attempt begins, on the drawer's clock in milliseconds. */
  retryAtMs: number;
}

/** The progress of the RAM of a running VM; see the event. */
export type RamView = Pick<
  Extract<MigrationEvent, { event: "ram" }>,
  "iteration" | "remainingBytes" | "dirtyBytesPerSec" | "expectedDowntimeMs" | "throttlePercent"
>;

export interface SessionView {
  name: string;
  phase: string;
  files: readonly FileProgress[];
  bytes: number;
  doneBytes: number;
  savedBytes: number;
  /** Smoothed; undefined until two samples are there. */
  rateBytesPerSec: number | undefined;
  wireRateBytesPerSec: number | undefined;
  /** The last sample; undefined before the first and after a cut, so that an outage is no slow transfer. */
  sample: { seconds: number; doneBytes: number; wireBytes: number } | undefined;
  link: LinkTrouble | undefined;
  /** What a person has limited the bandwidth to on the way; undefined if to nothing. */
  mostBytesPerSec?: number | undefined;
  /** Undefined if no RAM of a VM that runs is on its way (yet). */
  ram: RamView | undefined;
}

/** Sessions by id, in the order in which they began. */
export type ProgressState = ReadonlyMap<string, SessionView>;

export const noProgress: ProgressState = new Map();

/** The time constant of the smoothing: after this time two thirds of a change of pace show. */
const smoothingSeconds = 4;

/** Samples nearer to each other than this wait for the next one: their rate would be noise. */
const sampleSeconds = 0.2;

/** The state after `event`, which came at `nowMs` on the drawer's clock. Returns the same object if nothing changed. */
export function progressAfter(state: ProgressState, event: MigrationEvent, nowMs: number): ProgressState {
  switch (event.event) {
    case "session":
      return changed(state, event.session, { name: event.name, bytes: event.bytes, link: undefined });
    case "phase":
      return changed(state, event.session, { name: event.name, phase: event.phase });
    case "progress":
      return new Map(state).set(
        event.session,
        withProgress(state.get(event.session) ?? newView(event.name), event),
      );
    case "ram": {
      const { iteration, remainingBytes, dirtyBytesPerSec, expectedDowntimeMs, throttlePercent } = event;
      const ram = { iteration, remainingBytes, dirtyBytesPerSec, expectedDowntimeMs, throttlePercent };
      return changed(state, event.session, { name: event.name, ram });
    }
    case "tuned": {
      const { bandwidthBytesPerSec: rate } = event;
      if (rate === undefined) return state;
      return changed(state, event.session, { name: event.name, mostBytesPerSec: rate ?? undefined });
    }
    case "link": {
      // Of several connections that are lost with the network, the one that knows when it tries again is shown.
      if (event.state === "lost" && event.attempt === 0 && state.get(event.session)?.link) return state;
      const link =
        event.state === "lost"
          ? { message: event.message, attempt: event.attempt, retryAtMs: nowMs + event.retryInMs }
          : undefined;
      return changed(state, event.session, { name: event.name, link, sample: undefined });
    }
    case "stopped":
    case "done":
    case "error": {
      if (event.session === undefined || !state.has(event.session)) return state;
      const rest = new Map(state);
      rest.delete(event.session);
      return rest;
    }
    default:
      return state;
  }
}

/** Milliseconds until the session's bytes are through at the smoothed rate, if that can be said. */
export function timeLeftMs(view: SessionView): number | undefined {
  if (view.link !== undefined || view.rateBytesPerSec === undefined || view.rateBytesPerSec < 1)
    return undefined;
  // Of a VM that runs nobody knows how much there is to come.
  if (view.files.some(({ atMost }) => atMost === true)) return undefined;
  const left = view.bytes - view.doneBytes;
  return left <= 0 ? undefined : (left / view.rateBytesPerSec) * 1000;
}

function newView(name: string): SessionView {
  return {
    name,
    phase: "begin",
    files: [],
    bytes: 0,
    doneBytes: 0,
    savedBytes: 0,
    rateBytesPerSec: undefined,
    wireRateBytesPerSec: undefined,
    sample: undefined,
    link: undefined,
    ram: undefined,
  };
}

function changed(
  state: ProgressState,
  session: string,
  change: Partial<SessionView> & { name: string },
): ProgressState {
  return new Map(state).set(session, { ...(state.get(session) ?? newView(change.name)), ...change });
}

function withProgress(view: SessionView, event: Extract<MigrationEvent, { event: "progress" }>): SessionView {
  // Bars never run backwards, whatever order the events come in.
  const doneBefore = new Map(view.files.map((file) => [file.file, file.doneBytes]));
  const files = event.files.map((file) => ({
    ...file,
    doneBytes: Math.max(file.doneBytes, doneBefore.get(file.file) ?? 0),
  }));
  const next: SessionView = {
    ...view,
    name: event.name,
    phase: event.phase,
    files,
    bytes: event.bytes,
    doneBytes: Math.max(view.doneBytes, event.doneBytes),
    savedBytes: Math.max(view.savedBytes, event.savedBytes),
  };
  // QEMU's own count moves even while the link is away, which says nothing of the link's pace.
  if (view.link !== undefined) return { ...next, sample: undefined };
  const sample = { seconds: event.seconds, doneBytes: next.doneBytes, wireBytes: event.wireBytes };
  const last = view.sample;
  if (last === undefined) return { ...next, sample };
  const elapsed = event.seconds - last.seconds;
  if (elapsed < sampleSeconds) return next;
  const weight = 1 - Math.exp(-elapsed / smoothingSeconds);
  return {
    ...next,
    sample,
    rateBytesPerSec: smooth(view.rateBytesPerSec, (sample.doneBytes - last.doneBytes) / elapsed, weight),
    wireRateBytesPerSec: smooth(
      view.wireRateBytesPerSec,
      Math.max(0, sample.wireBytes - last.wireBytes) / elapsed,
      weight,
    ),
  };
}

function smooth(before: number | undefined, now: number, weight: number): number {
  return before === undefined ? now : before + weight * (now - before);
}
