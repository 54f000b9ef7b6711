/**
 * A source that dies at a planned journal write: `bun crash-send.ts HOME VM-FOLDER PORT AFTER PLAN [BASE]`.
 * With a base the link is a secure one, of hosts that know each other, and what is sent is compressed.
 */
import type { SendOptions } from "../../../src/migration/source/send.ts";
import { sendVm } from "../../../src/migration/source/send.ts";
import { asMigrateError } from "../../../src/protocol/errors.ts";
import { crashingHook } from "./crash-point.ts";

const [home = "", folder = "", port = "", after = "", plan = "", base] = process.argv.slice(2);
try {
  await sendVm(
    {
      home,
      vm: { folder },
      address: { host: "127.0.0.1", port: Number(port) },
      lanes: 1,
      compression: base === undefined ? "auto" : 3,
      base,
      after: after as SendOptions["after"],
      copy: false,
      retryForMs: 20_000,
      insecure: base === undefined,
      passphrase: () => Promise.reject(new Error("there is none")),
      signal: new AbortController().signal,
      onJournalWrite: crashingHook(plan),
    },
    (event) => {
      if (event.event !== "progress") console.log(JSON.stringify(event));
    },
  );
  process.exit(0);
} catch (thrown) {
  const { code, message, exitCode } = asMigrateError(thrown);
  console.log(JSON.stringify({ event: "error", code, message }));
  process.exit(exitCode);
}
