/** The program itself: the compiled binary twice, each with a new home, so that pairing is in the time. */
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { builtBinary, type MigrateProcess, runMigrate } from "../support/system/process.ts";
import { type Contender, endedWell, type Indexing } from "./contender.ts";
import { unmark } from "./inputs/unmarked.ts";
import { cpuMsOf } from "./qemu/cpu-time.ts";
import { settleBefore } from "./store-before.ts";

/** What sets one of ours apart from the program as users have it. */
interface Variant {
  /** Of both commands. */
  flags?: string[];
  sendFlags?: string[];
  /** Whether no index is kept, and `send` names what the destination has before as the base. */
  withoutIndex?: boolean;
  suits?: Contender["suits"];
  /** Another build of it. */
  binary?: string;
}

/** The name of the VM that is moved. */
const vmName = "bench";
/** A run takes 10 minutes at most, and so does the index of what is there before. */
const deadlineMs = 600_000;

export function ours(name: string, title: string, variant: Variant = {}): Contender {
  const {
    flags = [],
    sendFlags = [],
    withoutIndex = false,
    suits = () => true,
    binary = builtBinary,
  } = variant;
  const serveFlags = withoutIndex ? ["--index", "off"] : [];
  return {
    name,
    title,
    role: "ours",
    needs: [{ program: binary }],
    suits,
    async prepare(input, folder, link) {
      unmark(input.path);
      const store = join(folder, "store");
      mkdirSync(store);
      const baseFlags = await settleBefore(input, store, vmName);
      const serveArgs = ["serve", "--listen", `${link.address}:0`, "--store", store, "--once", "--json"];
      const serve = runMigrate([...serveArgs, ...flags, ...serveFlags], {
        home: join(folder, "destination-home"),
        binary: [...link.destination, binary],
      });
      const { address, ticket } = await serve.waitFor("listening");
      const waits = input.before !== undefined && !withoutIndex;
      const indexing = waits ? await indexed(serve) : undefined;
      const proof = ticket === undefined ? [] : ["--ticket", ticket];
      const vm = ["--name", vmName, `--${input.kind}`, input.path];
      const named = withoutIndex ? baseFlags : [];
      // The input is needed again: it must not be renamed.
      const sendArgs = ["send", ...vm, address, ...proof, ...named, "--after", "keep", "--json"];
      let wireBytes: number | undefined;
      return {
        arrivedPath: join(store, vmName, basename(input.path)),
        destination: serve,
        ...(indexing === undefined ? {} : { indexing }),
        start() {
          const send = runMigrate([...sendArgs, ...flags, ...sendFlags], {
            home: join(folder, "source-home"),
            binary: [...link.source, binary],
          });
          send.waitFor("done", { deadlineMs }).then(
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

/**
 * Waits until serve's index holds what is in its store, and gives what that took; what it had done
 * when it began to listen is not in the CPU time.
 */
async function indexed(serve: MigrateProcess): Promise<Indexing> {
  const cpuBefore = cpuMsOf(serve.pid);
  const { seconds } = await serve.waitFor("indexed", { deadlineMs });
  return { seconds, cpuMs: cpuMsOf(serve.pid) - cpuBefore };
}
