/**
 * A source with limits of its own, to be run on one of the NetworkHosts: `bun send-program.ts JSON`, of what `sendOnce`
 * takes. Writes its events, and in the end {"event":"over","error"}, one JSON object a line.
 */
import { type SendingOptions, sendOnce } from "../sending.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as SendingOptions;
const { error } = await sendOnce({
  ...options,
  observe: (event) => {
    if (event.event !== "progress") console.log(JSON.stringify(event));
  },
});
const { code, message, hint } = error ?? {};
console.log(JSON.stringify({ event: "over", error: error === undefined ? null : { code, message, hint } }));
process.exit(0);
