/**
 * The worst source as a process of its own, at the lowest priority: it stands for another host, whose processors
 * the two that move a VM do not share. Takes the port as its argument and an identity as a line of JSON on standard
 * input, says each half second what it has done, and ends with its standard input.
 */
import { setPriority } from "node:os";
import type { RawIdentity } from "../raw/peer.ts";
import { WorstSource } from "./worst-source.ts";

const lowest = 19;
const tellMs = 500;

if (import.meta.main) {
  setPriority(lowest);
  const lines = console[Symbol.asyncIterator]();
  const { value } = await lines.next();
  const worst = new WorstSource(Number(process.argv[2]), JSON.parse(value!) as RawIdentity);
  worst.begin();
  const telling = setInterval(() => console.log(JSON.stringify(worst.done)), tellMs);
  while (!(await lines.next()).done);
  clearInterval(telling);
  await worst.stop();
}

/** Starts one; `done` is what it has said last of how often each of its ways came to its end. */
export function startWorst(port: number, identity: RawIdentity) {
  const child = Bun.spawn([process.execPath, import.meta.path, String(port)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  child.stdin.write(`${JSON.stringify(identity)}\n`);
  child.stdin.flush();
  const worst = {
    done: {} as Record<string, number>,
    async stop() {
      child.stdin.end();
      await child.exited;
    },
  };
  void (async () => {
    let rest = "";
    for await (const bytes of child.stdout) {
      const lines = (rest + Buffer.from(bytes).toString()).split("\n");
      rest = lines.pop()!;
      for (const line of lines) worst.done = JSON.parse(line);
    }
  })();
  return worst;
}
