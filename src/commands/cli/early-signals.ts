/**
 * Signals that come before a command has said what they mean to it. This is the first module that the program loads, so
 * that a signal in its first moments does not end it by itself, in the middle of whatever it has begun.
 */
export type EndingSignal = "SIGTERM" | "SIGINT";

/** A command that has not asked for signals by then is ended by them, as is usual, in milliseconds. */
const graceMs = 500;

let listener: ((signal: EndingSignal) => void) | undefined;
let early: EndingSignal | undefined;

function take(signal: EndingSignal): void {
  if (listener !== undefined) {
    listener(signal);
    return;
  }
  early ??= signal;
  const end = () => {
    if (listener !== undefined) return;
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  };
  setTimeout(end, Math.max(0, graceMs - performance.now()));
}

process.on("SIGTERM", () => take("SIGTERM"));
process.on("SIGINT", () => take("SIGINT"));

/** From now on signals are this command's, also one that has come already. */
export function takeSignals(mine: (signal: EndingSignal) => void): void {
  listener = mine;
  if (early !== undefined) mine(early);
  early = undefined;
}
