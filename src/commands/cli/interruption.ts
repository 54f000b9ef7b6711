/** How a signal to the process reaches the work in hand. */
import { MigrateError } from "../../protocol/errors.ts";

/** The reason of the AbortSignal that a signal of the system aborts; whoever sees it may throw it as it is. */
export class Interruption extends MigrateError {
  readonly signal: "SIGINT" | "SIGTERM";

  constructor(signal: "SIGINT" | "SIGTERM") {
    super("interrupted", signal === "SIGINT" ? "Interrupted" : "Told to end (SIGTERM)", {
      hint: "The same command resumes where it stopped.",
    });
    this.signal = signal;
  }
}
