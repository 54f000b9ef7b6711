/**
 * A destination whose clock is the number in a file, and which keeps house all the time:
 * `bun year-serve.ts HOME STORE CLOCK`.
 */
import { readFileSync } from "node:fs";
import { serve } from "../../../../src/migration/destination/serve.ts";

const [home = "", store = "", clock = ""] = process.argv.slice(2);
const controller = new AbortController();
process.on("SIGTERM", () => controller.abort());
await serve(
  {
    home,
    store,
    listen: [{ host: "127.0.0.1", port: 0 }],
    once: false,
    maxSessions: 256,
    ticketTtlMs: 600_000,
    insecure: false,
    index: true,
    workers: 1,
    passphrase: () => Promise.reject(new Error("there is none")),
    signal: controller.signal,
    now: () => Number(readFileSync(clock, "latin1")),
    upkeepEveryMs: 200,
  },
  (event) => {
    if (event.event !== "progress") console.log(JSON.stringify(event));
  },
);
process.exit(0);
