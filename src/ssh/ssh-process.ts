/** One run of ssh(1): its output bounded, its end awaited, ended when the command that needs it is. */
import { MigrateError } from "../protocol/errors.ts";

export interface SshRun {
  /** The exit code; null where a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface SshRunOptions {
  /** What its standard input holds; empty where it is absent. */
  input?: Uint8Array | undefined;
  /** Called with how many bytes of the input have been taken. */
  taken?: ((bytes: number) => void) | undefined;
  /** It is killed after so long, in milliseconds, and has no exit code then. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

/** More than any answer that is asked for. What is longer is cut off. */
const mostBytes = 64 * 1024;
/** Handed to ssh at once. */
const pieceBytes = 256 * 1024;

/** Runs it to its end; never rejects but with the signal's reason. */
export async function runSsh(argv: readonly string[], options: SshRunOptions): Promise<SshRun> {
  const { input, signal } = options;
  signal?.throwIfAborted();
  const child = Bun.spawn([...argv], {
    stdin: input === undefined ? "ignore" : "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const end = () => child.kill("SIGKILL");
  const late = setTimeout(end, options.timeoutMs);
  signal?.addEventListener("abort", end);
  try {
    if (input !== undefined) await feed(child.stdin as Bun.FileSink, input, options);
    const [stdout, stderr] = await Promise.all([bounded(child.stdout), bounded(child.stderr), child.exited]);
    signal?.throwIfAborted();
    return { code: child.exitCode, stdout, stderr };
  } finally {
    clearTimeout(late);
    signal?.removeEventListener("abort", end);
    end();
  }
}

/** What ends before it has read everything says why by its exit code. */
async function feed(sink: Bun.FileSink, input: Uint8Array, { taken }: SshRunOptions): Promise<void> {
  try {
    for (let at = 0; at < input.length; at += pieceBytes) {
      const piece = input.subarray(at, at + pieceBytes);
      sink.write(piece);
      await sink.flush();
      taken?.(at + piece.length);
    }
    await sink.end();
  } catch {
    return;
  }
}

/** The first `mostBytes` of a stream that is read to its end. */
export async function bounded(stream: ReadableStream<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of stream) {
    if (bytes < mostBytes) pieces.push(piece.subarray(0, mostBytes - bytes));
    bytes += piece.length;
  }
  return Buffer.concat(pieces).toString();
}

/** The full path of ssh. Throws MigrateError "policy" if there is none. */
export function sshProgram(): string {
  const found = Bun.which("ssh");
  if (found !== null) return found;
  throw new MigrateError("policy", "there is no ssh on this host", {
    side: "source",
    hint: "Install it (openssh-client), or send to the port of a migrate serve, HOST:PORT.",
  });
}
