/** How a signal to the process reaches the work in hand. */
import { MigrateError } from "../../protocol/errors.ts";

/** Why a signal was aborted. The core may throw it as it stands. */
export class Interruption extends MigrateError {
  readonly signal: "SIGINT" | "SIGTERM";

  constructor(signal: "SIGINT" | "SIGTERM") {
    super("interrupted", signal === "SIGINT" ? "Interrupted" : "Told to end (SIGTERM)", {
      hint: "The same command goes on where it stopped.",
    });
    this.signal = signal;
  }
}
