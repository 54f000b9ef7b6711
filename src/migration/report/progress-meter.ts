/**
 * Counts one session's bytes, and reports them to the observer (every 100 ms) and the journal (every 2 s).
 */

import type { Journal, JournalFile } from "../journal/journal.ts";
import type { Phase } from "../ownership/phases.ts";
import type { FileProgress, Observer } from "./events.ts";

const observeEveryMs = 100;
const journalEveryMs = 2000;

export class ProgressMeter {
  /** Bytes sent or received on all connections of this process for this session. */
  wireBytes = 0;
  #files: FileProgress[] = [];
  #phase: Phase = "begin";
  #observedAtMs = 0;
  #journalledAtMs = 0;
  #savedBytes = 0;
  #startedAtMs = performance.now();
  #streamBytes = 0;
  #paused = false;
  readonly #session: { session: string; name: string; bytes: number };
  readonly #observe: Observer;
  readonly #journal: Journal;
  readonly #now: () => number;

  constructor(
    session: { session: string; name: string; bytes: number },
    observe: Observer,
    journal: Journal,
    now: () => number,
  ) {
    this.#session = session;
    this.#observe = observe;
    this.#journal = journal;
    this.#now = now;
  }

  get session(): { session: string; name: string } {
    return this.#session;
  }

  get seconds(): number {
    return (performance.now() - this.#startedAtMs) / 1000;
  }

  /** What was done until now is no part of the migration. */
  restart(): void {
    this.#startedAtMs = performance.now();
  }

  get currentPhase(): Phase {
    return this.#phase;
  }

  /** Bytes known to be right at the destination; never decreases. */
  get doneBytes(): number {
    return this.#doneBytes();
  }

  /**
   * Begins an attempt: takes the files, and the bytes of each that are right at the destination already. What
   * the observer was shown never decreases.
   */
  begin(
    files: readonly (Pick<JournalFile, "name" | "bytes"> & Pick<FileProgress, "atMost">)[],
    doneBytes: readonly number[],
  ): void {
    this.#files = files.map(({ name, bytes, atMost }, i) => ({
      file: name,
      bytes,
      doneBytes: Math.max(this.#files[i]?.doneBytes ?? 0, doneBytes[i] ?? 0),
      ...(atMost === undefined ? {} : { atMost }),
    }));
    this.#counted = [...doneBytes];
    this.#paused = false;
    this.#savedBytes = 0;
  }

  /**
   * Bytes of each file that this attempt found right so far; shown once they exceed what was shown before.
   */
  #counted: number[] = [];

  phase(phase: Phase): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    const { session, name } = this.#session;
    this.#observe({ event: "phase", session, name, phase });
    this.#tell(true);
  }

  /** Adds `bytes` to the bytes of a file that are right at the destination. */
  done(file: number, bytes: number): void {
    const progress = this.#files[file];
    if (progress === undefined) return;
    this.#counted[file] = (this.#counted[file] ?? 0) + bytes;
    progress.doneBytes = Math.min(progress.bytes, Math.max(progress.doneBytes, this.#counted[file]!));
    this.#tell(false);
  }

  /** Sets how many bytes of a file are right at the destination in all, as another program counts them. */
  reached(file: number, bytes: number): void {
    const progress = this.#files[file];
    if (progress === undefined) return;
    progress.doneBytes = Math.min(progress.bytes, Math.max(progress.doneBytes, bytes));
    this.#tell(false);
  }

  /** Sets the bytes that all streams together have sent so far. */
  streams(bytes: number): void {
    this.wireBytes += bytes - this.#streamBytes;
    this.#streamBytes = bytes;
  }

  /** Adds bytes that were sent or received. */
  wire(bytes: number): void {
    this.wireBytes += bytes;
  }

  /** The attempt is over; what streams still bring is told once the next one begins. */
  pause(): void {
    this.#tell(true);
    this.#note();
    this.#paused = true;
  }

  /**
   * Everything is at the destination: zero pages and holes, for which no chunk is sent, count as done now.
   */
  finish(): void {
    this.#paused = false;
    for (const file of this.#files) file.doneBytes = file.bytes;
    this.#tell(true);
    this.#note();
  }

  #tell(now: boolean): void {
    const nowMs = performance.now();
    if (this.#paused || (!now && nowMs - this.#observedAtMs < observeEveryMs)) return;
    this.#observedAtMs = nowMs;
    const { session, name, bytes } = this.#session;
    const doneBytes = this.#doneBytes();
    this.#savedBytes = Math.max(this.#savedBytes, doneBytes - this.wireBytes);
    this.#observe({
      event: "progress",
      session,
      name,
      phase: this.#phase,
      files: this.#files.map((file) => ({ ...file })),
      bytes,
      doneBytes,
      wireBytes: this.wireBytes,
      savedBytes: this.#savedBytes,
      seconds: this.seconds,
    });
    if (nowMs - this.#journalledAtMs >= journalEveryMs) this.#note();
  }

  #note(): void {
    this.#journalledAtMs = performance.now();
    this.#journal.noteProgress(this.#session.session, {
      phase: this.#phase,
      doneBytes: this.#doneBytes(),
      wireBytes: this.wireBytes,
      updatedAtMs: this.#now(),
    });
  }

  #doneBytes(): number {
    return this.#files.reduce((sum, file) => sum + file.doneBytes, 0);
  }
}
