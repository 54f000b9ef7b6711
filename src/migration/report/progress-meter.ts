/** Keeps count of one session's bytes and tells the observer and the journal now and then. */

import type { Journal, JournalFile } from "../journal/journal.ts";
import type { Phase } from "../ownership/phases.ts";
import type { FileProgress, Observer } from "./events.ts";

const observeEveryMs = 100;
const journalEveryMs = 2000;

export class ProgressMeter {
  /** Bytes on all connections of this process for this session. */
  wireBytes = 0;
  #files: FileProgress[] = [];
  #phase: Phase = "begin";
  #observedAtMs = 0;
  #journalledAtMs = 0;
  #savedBytes = 0;
  readonly #startedAtMs = performance.now();
  #streamBytes = 0;
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

  get currentPhase(): Phase {
    return this.#phase;
  }

  /** Bytes that are known to be right at the destination; never goes down. */
  get doneBytes(): number {
    return this.#doneBytes();
  }

  /** A new attempt: what is right at the destination already, by file. What was shown never shrinks. */
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
    this.#savedBytes = 0;
  }

  /** What this attempt has found right so far; shown once it passes what was shown before. */
  #counted: number[] = [];

  phase(phase: Phase): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    const { session, name } = this.#session;
    this.#observe({ event: "phase", session, name, phase });
    this.#tell(true);
  }

  /** `bytes` more bytes of a file are right at the destination. */
  done(file: number, bytes: number): void {
    const progress = this.#files[file];
    if (progress === undefined) return;
    this.#counted[file] = (this.#counted[file] ?? 0) + bytes;
    progress.doneBytes = Math.min(progress.bytes, Math.max(progress.doneBytes, this.#counted[file]!));
    this.#tell(false);
  }

  /** So many bytes of a file are right at the destination in all, as another program counts them. */
  reached(file: number, bytes: number): void {
    const progress = this.#files[file];
    if (progress === undefined) return;
    progress.doneBytes = Math.min(progress.bytes, Math.max(progress.doneBytes, bytes));
    this.#tell(false);
  }

  /** Bytes that all streams together have sent so far. */
  streams(bytes: number): void {
    this.wireBytes += bytes - this.#streamBytes;
    this.#streamBytes = bytes;
  }

  /** Bytes that went over the wire. */
  wire(bytes: number): void {
    this.wireBytes += bytes;
  }

  pause(): void {
    this.#tell(true);
    this.#note();
  }

  /** Everything is there: zero pages and holes that no chunk spoke of count as done now. */
  finish(): void {
    for (const file of this.#files) file.doneBytes = file.bytes;
    this.#tell(true);
    this.#note();
  }

  #tell(now: boolean): void {
    const nowMs = performance.now();
    if (!now && nowMs - this.#observedAtMs < observeEveryMs) return;
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
