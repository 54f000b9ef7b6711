/** A Worker that goes into the background and tells its thread's nice value before and after. */
import { readFileSync } from "node:fs";
import { runInBackground } from "../../../src/platform/background.ts";

declare const self: Worker;

/** proc_pid_stat(5), field 19; the second one is in brackets and may hold blanks. */
function nice(): number {
  const text = readFileSync("/proc/thread-self/stat", "utf8");
  return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[16]);
}

self.onmessage = () => {
  const before = nice();
  runInBackground();
  self.postMessage({ before, after: nice() });
};
