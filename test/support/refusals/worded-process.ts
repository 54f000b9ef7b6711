/**
 * A process with the arguments of a QEMU that this host could not start: it writes them over its own, as proc(5)
 * shows them, and answers on a QMP socket as a QEMU with nothing in it. For what is said of a command line alone.
 */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { type Child, startChild } from "../system/child.ts";
import { listening } from "../system/listening.ts";

/** The longest argument that the kernel takes, with room (execve(2), MAX_ARG_STRLEN). */
const longestWord = 100_000;
/** Means nothing, to QEMU and to us: makes a command line long enough to be written over this program's own. */
const idle = "-no-user-config";

const bytesOf = (words: readonly string[]) =>
  words.reduce((sum, word) => sum + Buffer.byteLength(word) + 1, 0);

/** Starts one and waits until it listens. */
export async function startWorded(socket: string, words: readonly string[]): Promise<Child> {
  const own = [process.execPath, import.meta.path];
  const shown = [...words];
  while (bytesOf(shown) < bytesOf(own) + 2) shown.splice(1, 0, idle);
  // What it is started with is as long as what it is to show.
  const padding: string[] = [];
  for (let left = bytesOf(shown) - bytesOf(own); left > 0; ) {
    const take = left - longestWord > 1 ? longestWord : left;
    padding.push("x".repeat(take - 1));
    left -= take;
  }
  writeFileSync(`${socket}.words`, JSON.stringify(shown));
  const child = startChild([...own, ...padding], { env: { ...process.env, WORDED: socket } });
  await listening(socket);
  return child;
}

/** Answers of a QEMU with nothing in it. */
const answers: Readonly<Record<string, unknown>> = {
  qmp_capabilities: {},
  "query-status": { status: "paused" },
  "query-migrate": {},
};

function serve(socket: string): void {
  const greeting = {
    QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: "" }, capabilities: [] },
  };
  Bun.listen<{ text: string }>({
    unix: socket,
    socket: {
      open(peer) {
        peer.data = { text: "" };
        peer.write(`${JSON.stringify(greeting)}\r\n`);
      },
      data(peer, bytes) {
        const lines = (peer.data.text + bytes.toString()).split("\n");
        peer.data.text = lines.pop()!;
        for (const line of lines) {
          const { execute, id } = JSON.parse(line) as { execute: string; id: unknown };
          peer.write(`${JSON.stringify({ return: answers[execute] ?? [], id })}\r\n`);
        }
      },
    },
  });
}

function wear(words: readonly string[]): void {
  const stat = readFileSync("/proc/self/stat", "latin1");
  // proc(5): arg_start is the 48th field, and the third is the first behind the name.
  const start = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[48 - 3]);
  const bytes = Buffer.from(words.map((word) => `${word}\0`).join(""));
  const memory = openSync("/proc/self/mem", "r+");
  writeSync(memory, bytes, 0, bytes.length, start);
  closeSync(memory);
}

if (import.meta.main) {
  const socket = process.env.WORDED!;
  wear(JSON.parse(readFileSync(`${socket}.words`, "utf8")) as string[]);
  serve(socket);
}
