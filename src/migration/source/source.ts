/** The source: opens one link after another until the session has ended, or the time for retries is over. */
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Report } from "../report/report.ts";
import type { Tuning } from "../report/tuning.ts";
import type { MoveLook } from "./control-messages.ts";
import { SourceAttempt } from "./source-attempt.ts";
import { type SourceOptions, SourceSession } from "./source-session.ts";

/** How long the source tries to send CONFIRM, in milliseconds: by then the VM has moved. */
const confirmForMs = 30_000;

const firstDelayMs = 200;
const mostDelayMs = 10_000;
/** How many connections may fail if the session has never had one, unless it is to wait for the first. */
const firstTries = 3;

export class Source {
  readonly #session: SourceSession;
  #attempt: SourceAttempt | undefined;
  #wake: (() => void) | undefined;
  #beganAtMs = performance.now();

  constructor(options: SourceOptions) {
    this.#session = new SourceSession(options);
  }

  /**
   * Works until the session has ended. Returns the "done" event. Throws the MigrateError that ended it early;
   * the session can be resumed after any of them except "cancelled".
   */
  async run(): Promise<Report> {
    const { signal, timeoutMs } = this.#session.options;
    this.#beganAtMs = performance.now();
    const interrupt = () => this.#interrupt();
    const timeout = timeoutMs === undefined ? undefined : setTimeout(() => void this.#timeOut(), timeoutMs);
    signal.addEventListener("abort", interrupt);
    try {
      if (signal.aborted) interrupt();
      return await this.#attempts();
    } catch (thrown) {
      const { session, name: vm } = this.#session.record;
      this.#session.forgetUnlessLinked();
      const phase = this.#session.meter.currentPhase;
      throw asMigrateError(thrown).within({ side: "source", phase, session, vm });
    } finally {
      clearTimeout(timeout);
      signal.removeEventListener("abort", interrupt);
    }
  }

  async #attempts(): Promise<Report> {
    const session = this.#session;
    const { retryForMs, observe } = session.options;
    let lostAtMs = performance.now();
    let delayMs = firstDelayMs;
    for (let tries = 1; ; tries++) {
      const doneBytes = () => session.meter.doneBytes + (session.options.departure?.carriedBytes ?? 0);
      const doneBefore = doneBytes();
      try {
        if (session.mayStop) throw session.interruption();
        await this.#reach();
        this.#attempt = new SourceAttempt(session);
        await this.#attempt.run();
        return session.report(true);
      } catch (thrown) {
        const error = asMigrateError(thrown);
        const record = session.record;
        // Only new bytes count as progress: a destination that forgets everything each time would keep this
        // process forever.
        if (doneBytes() > doneBefore) {
          lostAtMs = performance.now();
          delayMs = firstDelayMs;
        }
        const patienceMs = Math.min(retryForMs, this.#mostPatienceMs(record));
        const isFirst = !session.linked && record.attempt <= firstTries;
        // ssh says at once whether it comes through, and asks a person each time.
        const mostTries = session.options.way === undefined ? firstTries : 1;
        const hopeless = isFirst && tries >= mostTries && session.options.waitsForFirst !== true;
        const over =
          hopeless ||
          session.options.departure?.failure !== undefined ||
          performance.now() - lostAtMs + delayMs > patienceMs;
        if (record.state === "confirmed" && record.settled && (over || error.code !== "network"))
          return this.#unconfirmed(error);
        if (error.code !== "network" || session.mayStop || over) throw this.#final(error, record);
        observe({
          event: "link",
          session: record.session,
          name: record.name,
          state: "lost",
          message: error.message,
          attempt: record.attempt,
          retryInMs: delayMs,
        });
        await this.#pause(delayMs);
        delayMs = Math.min(mostDelayMs, delayMs * 2);
      } finally {
        this.#attempt = undefined;
      }
    }
  }

  /** An interruption does not wait for a way that is not there yet. */
  async #reach(): Promise<void> {
    const session = this.#session;
    if (session.options.way === undefined) return;
    const stopped = Promise.withResolvers<never>();
    this.#wake = () => {
      if (session.mayStop) stopped.reject(session.interruption());
    };
    try {
      await Promise.race([session.reach(), stopped.promise]);
    } finally {
      this.#wake = undefined;
    }
  }

  /** How long retries make sense at most, in milliseconds, whatever the person has asked for. */
  #mostPatienceMs(record: SessionRecord): number {
    if (record.state === "confirmed") return confirmForMs;
    // Once the VM is released, giving up early would not resume it here.
    if (record.state !== "sending") return Number.POSITIVE_INFINITY;
    return this.#session.options.departure?.patienceMs ?? Number.POSITIVE_INFINITY;
  }

  /** The VM has moved and the source's files are retired; only the destination's record stays open. */
  #unconfirmed(error: MigrateError): Report {
    this.#session.options.observe({
      event: "warning",
      message: `the destination owns the VM; the session stays open, since its end failed: ${error.message}`,
    });
    return this.#session.report(false);
  }

  /**
   * Changes the move on its way. Throws MigrateError "policy", and changes nothing, if any of it cannot be changed (any
   * more), and as `Departure.tune`.
   */
  async tune(tuning: Tuning): Promise<void> {
    const { record, options } = this.#session;
    const { session, name, state } = record;
    if (state !== "sending" || options.departure === null) {
      throw new MigrateError("policy", `${name} is ${state} already: there is nothing left to change`, {
        side: "source",
      });
    }
    await options.departure.tune(tuning);
    this.#session.tuned = { ...this.#session.tuned, ...tuning };
    if (tuning.bandwidthBytesPerSec !== undefined) this.#attempt?.pace(tuning.bandwidthBytesPerSec);
    options.observe({ event: "tuned", session, name, ...tuning });
  }

  /** How the move is carried out just now. */
  look(): MoveLook {
    const { options, tuned, bandwidthBytesPerSec } = this.#session;
    const { timeoutMs, forces } = options;
    return {
      tuning: { ...tuned, bandwidthBytesPerSec },
      ...(timeoutMs === undefined
        ? {}
        : {
            timeoutInMs: Math.round(this.#beganAtMs + timeoutMs - performance.now()),
            onTimeout: forces === true ? "force" : "cancel",
          }),
    };
  }

  /** Whether the time that was given is over for a guest that can be stopped, so that its move gets done. */
  async #forced(): Promise<boolean> {
    const { options, record } = this.#session;
    const { departure, forces, timeoutMs = 0, observe } = options;
    if (forces !== true || departure?.force === undefined || record.state !== "sending") return false;
    if (departure.stoppedAtMs !== undefined) return true;
    const { session, name } = record;
    const late = `${name} is not at the handover after ${timeoutMs / 1000} s (--timeout)`;
    observe({
      event: "warning",
      session,
      name,
      message: `${late}: it is stopped here now, so that the rest gets through (--on-timeout force)`,
    });
    const stands = await departure.force();
    if (!stands) {
      const message = `${name} is not stopped: nothing of it is on its way just now, and it would stand still for nothing`;
      observe({ event: "notice", session, name, message });
    }
    return stands;
  }

  /** Once the VM is released, the time that was given for it is no reason to leave it in doubt. */
  async #timeOut(): Promise<void> {
    const session = this.#session;
    try {
      if (await this.#forced()) return;
    } catch {
      // What keeps the guest from being stopped ends the move itself; where it does not, the time is over.
      if (session.options.departure?.failure !== undefined) return;
    }
    session.isLate = true;
    if (!session.mayStop) return;
    this.#attempt?.abort(session.interruption());
    this.#wake?.();
  }

  #interrupt(): void {
    const session = this.#session;
    session.interrupted = true;
    if (session.mayStop) {
      this.#attempt?.abort(session.interruption());
    } else {
      session.options.observe({
        event: "notice",
        message:
          "the VM has been released: waiting for the destination to say that it has it (interrupt again to leave it in doubt)",
      });
    }
    this.#wake?.();
  }

  /** Returns the error that the person sees, which depends on the record's state. */
  #final(error: MigrateError, record: SessionRecord): MigrateError {
    if (this.#session.mayStop) return this.#session.interruption();
    const id = record.session.slice(0, 12);
    if (record.state === "released") {
      return new MigrateError(
        "in-doubt",
        `${record.name} was released and the destination has not said that it owns it: ${error.message}`,
        {
          side: "source",
          cause: error,
          hint: `nothing runs it here until this is settled: run the same command again, or migrate resolve ${id}. If the two hosts cannot speak any more, migrate status shows the code with which the destination takes it`,
        },
      );
    }
    if (record.state === "confirmed") {
      return new MigrateError(
        error.code,
        `${record.name} is the destination's now; what is left to do here failed: ${error.message}`,
        {
          side: error.side,
          cause: error,
          hint: "do not start it here; the same command goes on where this one stopped",
        },
      );
    }
    const { departure } = this.#session.options;
    if (departure?.isResumable === false) return departure.failure ?? error;
    if (error.code === "network" && this.#session.linked && error.hint === undefined) {
      return new MigrateError("network", error.message, {
        side: error.side,
        cause: error,
        hint: "nothing is lost: the same command goes on where this one stopped",
      });
    }
    return error;
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
