/**
 * A child process of a test: its output is collected, its end is awaited, and it does not outlive
 * the test process.
 */

export interface ChildExit {
  /** The exit code; null where a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | number | null;
}

export interface ChildOptions {
  cwd?: string;
  /** The whole environment; the test's own where it is absent. */
  env?: Record<string, string | undefined>;
  /** A file to read from, or "pipe" for `type`; the child's standard input is empty where it is absent. */
  stdin?: Bun.BunFile | "pipe";
  /** Called with each piece of standard output, decoded as UTF-8, in order. */
  onStdout?: (text: string) => void;
  /** Called with each piece of standard error, decoded as UTF-8, in order. */
  onStderr?: (text: string) => void;
}

export interface Child {
  readonly pid: number;
  readonly command: readonly string[];
  /** Settles once the process is gone and all it wrote has been read; never rejects. */
  readonly exit: Promise<ChildExit>;
  /** What it wrote so far. */
  stdout(): string;
  stderr(): string;
  /** Sends a signal (SIGKILL where none is named) and waits for the end. Harmless when it has ended. */
  kill(signal?: NodeJS.Signals): Promise<ChildExit>;
  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void;
  /** Writes to its standard input, if that is a pipe. */
  type(text: string): void;
  /** User and system CPU time in milliseconds, its own and its reaped children's; known after its end. */
  cpuMs(): { userMs: number; systemMs: number } | undefined;
}

const running = new Set<Child>();
process.on("exit", () => {
  for (const child of running) child.signal("SIGKILL");
});

/** Kills every child that still runs and waits for it: for `afterEach`, in a file whose tests run one by one. */
export async function killChildren(): Promise<void> {
  await Promise.all([...running].map((child) => child.kill()));
}

/** Starts a command (the first word is looked up in PATH). Throws where there is no such program. */
export function startChild(command: string[], options: ChildOptions = {}): Child {
  const subprocess = Bun.spawn(command, {
    stdin: options.stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const written = { stdout: "", stderr: "" };
  const outputRead = Promise.all([
    collect(subprocess.stdout, (text) => {
      written.stdout += text;
      options.onStdout?.(text);
    }),
    collect(subprocess.stderr, (text) => {
      written.stderr += text;
      options.onStderr?.(text);
    }),
  ]);
  const exit = Promise.all([subprocess.exited, outputRead]).then((): ChildExit => {
    running.delete(child);
    return { code: subprocess.exitCode, signal: subprocess.signalCode };
  });
  const child: Child = {
    pid: subprocess.pid,
    command,
    exit,
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    async kill(signal = "SIGKILL") {
      subprocess.kill(signal);
      return await exit;
    },
    signal: (signal) => subprocess.kill(signal),
    type(text) {
      const { stdin } = subprocess;
      if (stdin === undefined || typeof stdin === "number") throw new Error("its standard input is no pipe");
      stdin.write(text);
      stdin.flush();
    },
    cpuMs() {
      const time = subprocess.resourceUsage()?.cpuTime;
      if (time === undefined) return undefined;
      return { userMs: Number(time.user) / 1000, systemMs: Number(time.system) / 1000 };
    },
  };
  running.add(child);
  return child;
}

/**
 * Runs a command to its end and gives its standard output.
 * Throws an Error with the command, its exit code and its standard error where it failed.
 */
export async function runChild(command: string[], options: ChildOptions = {}): Promise<string> {
  const child = startChild(command, options);
  const { code, signal } = await child.exit;
  if (code !== 0) {
    throw new Error(`${command.join(" ")} ended with ${code ?? signal}: ${child.stderr().trim()}`);
  }
  return child.stdout();
}

async function collect(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of stream) take(decoder.decode(bytes, { stream: true }));
  const rest = decoder.decode();
  if (rest !== "") take(rest);
}
