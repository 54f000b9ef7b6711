/** A destination that dies at a planned journal write: `bun crash-serve.ts HOME STORE PLAN [secure]`. */
import { serve } from "../../../src/migration/destination/serve.ts";
import { crashingHook } from "./crash-point.ts";

const [home = "", store = "", plan = "", secure] = process.argv.slice(2);
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
    insecure: secure === undefined,
    index: true,
    workers: 1,
    passphrase: () => Promise.reject(new Error("there is none")),
    signal: controller.signal,
    onJournalWrite: crashingHook(plan),
  },
  (event) => {
    if (event.event !== "progress") console.log(JSON.stringify(event));
  },
);
process.exit(0);
