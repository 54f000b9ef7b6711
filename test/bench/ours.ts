/** The program itself: the compiled binary twice, each with a new home, so that pairing is in the time. */
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { builtBinary, runMigrate } from "../support/process.ts";
import { type Contender, endedWell } from "./contender.ts";

export function ours(name: string, title: string, flags: string[]): Contender {
  return {
    name,
    title,
    needs: [{ program: builtBinary }],
    async prepare(input, folder) {
      const store = join(folder, "store");
      mkdirSync(store);
      const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--store", store, "--once", "--json", ...flags];
      const serve = runMigrate(serveArgs, { home: join(folder, "destination-home") });
      const { address, ticket } = await serve.waitFor("listening");
      const proof = ticket === undefined ? [] : ["--ticket", ticket];
      const vm = ["--name", "bench", `--${input.kind}`, input.path];
      // The input is needed again: it must not be renamed.
      const sendArgs = ["send", ...vm, address, ...proof, "--after", "keep", "--json", ...flags];
      let wireBytes: number | undefined;
      return {
        arrivedPath: join(store, "bench", basename(input.path)),
        destination: serve,
        start() {
          const send = runMigrate(sendArgs, { home: join(folder, "source-home") });
          send.waitFor("done", { deadlineMs: 600_000 }).then(
            (done) => {
              wireBytes = done.wireBytes;
            },
            // Its exit code tells as well, and is looked at.
            () => {},
          );
          return { ...send, stderr: () => send.stderr() + JSON.stringify(send.events.at(-1)) };
        },
        // The source's good end says that the destination has everything, checked and durable.
        arrived: async () => {},
        finish: async () => await endedWell(serve, "serve"),
        reportedWireBytes: () => wireBytes,
      };
    },
  };
}
