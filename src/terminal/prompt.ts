/** Passphrases, from a terminal without echo or from a file. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { MigrateError } from "../protocol/errors.ts";

/** Longest passphrase in bytes, here and in a file. */
const passphraseBytes = 4096;
/** No answer to a question is longer. */
const answerBytes = 64;

/** What of process.stdin the prompt needs. */
export interface KeyboardInput {
  isTTY?: boolean | undefined;
  setRawMode?: ((raw: boolean) => unknown) | undefined;
  on(event: "data", listener: (bytes: Buffer) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  off(event: "data", listener: (bytes: Buffer) => void): unknown;
  off(event: "end", listener: () => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

export interface PromptOptions {
  input: KeyboardInput;
  /** Writes to the terminal. */
  write: (text: string) => void;
  question: string;
  /** The flag that gives the passphrase in a file. */
  flag?: string;
}

/**
 * Asks for one line without echo.
 * @throws MigrateError "usage" if there is no terminal, "interrupted" on Ctrl-C or the end of input.
 */
export async function askSecret(options: PromptOptions): Promise<string> {
  const { input, write } = options;
  if (input.isTTY !== true || input.setRawMode === undefined)
    throw new MigrateError("usage", "A passphrase is needed, and there is no terminal to ask for it", {
      hint: `Give it in a file that only you can read: ${options.flag ?? "--passphrase-file"} FILE.`,
    });
  // Raw before the question is there: who answers at once must not see it on the screen.
  input.setRawMode(true);
  try {
    write(options.question);
    return await readSecretLine(input);
  } finally {
    input.setRawMode(false);
    input.pause();
    write("\n");
  }
}

/**
 * Asks twice for a passphrase that is about to be set.
 * @throws MigrateError "usage" if it is empty or the two differ, and as askSecret does.
 */
export async function askNewSecret(options: PromptOptions): Promise<string> {
  const first = await askSecret(options);
  if (first === "")
    throw new MigrateError("usage", "The passphrase is empty", {
      hint: "Type one, or leave the identity unsealed.",
    });
  const second = await askSecret({ ...options, question: "The same once more: " });
  if (first !== second)
    throw new MigrateError("usage", "The two passphrases differ", {
      hint: "Nothing was changed. Try again.",
    });
  return first;
}

/**
 * Asks a question to which nothing but "y" or "yes" is a yes. The terminal shows what is typed.
 * @throws MigrateError "usage" if there is no terminal; `hint` says what to give in its place.
 */
export async function askYes({ input, write, question }: PromptOptions, hint: string): Promise<boolean> {
  if (input.isTTY !== true)
    throw new MigrateError("usage", "This has to be confirmed, and there is no terminal to ask", { hint });
  write(question);
  const { promise, resolve } = Promise.withResolvers<string>();
  let typed = "";
  const onEnd = () => resolve("");
  const onData = (bytes: Buffer) => {
    typed += bytes.toString();
    if (/[\r\n]/.test(typed) || typed.length > answerBytes) resolve(typed);
  };
  input.on("data", onData);
  input.on("end", onEnd);
  input.resume();
  try {
    return /^y(?:es)?$/i.test((await promise).trim());
  } finally {
    input.off("data", onData);
    input.off("end", onEnd);
    input.pause();
  }
}

/** Reads keys in raw mode up to Enter. Backspace, Ctrl-U (erase the line), Ctrl-C and Ctrl-D work as on any terminal. */
function readSecretLine(input: KeyboardInput): Promise<string> {
  return new Promise((resolve, reject) => {
    const decoder = new TextDecoder();
    let typed: string[] = [];
    const end = (answer: () => void) => {
      input.off("data", onData);
      input.off("end", onEnd);
      answer();
    };
    const interrupted = () => reject(new MigrateError("interrupted", "Interrupted while asking"));
    const onEnd = () => end(interrupted);
    const onData = (bytes: Buffer) => {
      for (const key of decoder.decode(bytes, { stream: true })) {
        if (key === "\r" || key === "\n") return end(() => resolve(typed.join("")));
        if (key === "\u0003" || key === "\u0004") return end(interrupted);
        if (key === "\u007f" || key === "\b") typed.pop();
        else if (key === "\u0015") typed = [];
        else if (key >= " " && typed.length < passphraseBytes) typed.push(key);
      }
    };
    input.on("data", onData);
    input.on("end", onEnd);
    input.resume();
  });
}

/**
 * The passphrase in a file: as `readSecretFile`.
 * @throws MigrateError "file-unusable".
 */
export function readPassphraseFile(path: string): string {
  return readSecretFile(path, "passphrase");
}

/**
 * A secret in a file: its first line, up to 4096 bytes. A file that others can read is refused;
 * a pipe (/dev/fd/3) is fine. `what` is what it is called.
 * @throws MigrateError "file-unusable".
 */
export function readSecretFile(path: string, what: string): string {
  const refuse = (message: string, hint: string, cause?: unknown) =>
    new MigrateError("file-unusable", message, { hint, cause });
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (cause) {
    throw refuse(`The ${what} file ${path} cannot be read`, "Check the path and its permissions.", cause);
  }
  try {
    const stat = fstatSync(descriptor);
    if (stat.isFile() && (stat.mode & 0o077) !== 0)
      throw refuse(`The ${what} file ${path} can be read by others`, `Run: chmod 600 ${path}`);
    const buffer = Buffer.alloc(passphraseBytes + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got)
      got = readSync(descriptor, buffer, length, buffer.length - length, null);
    const line = buffer.toString("utf8", 0, length).split(/\r?\n/, 1)[0] ?? "";
    buffer.fill(0);
    if (length > passphraseBytes) throw refuse(`The ${what} file ${path} is too long`, "At most 4096 bytes.");
    if (line === "")
      throw refuse(`The ${what} file ${path} has an empty first line`, `Put the ${what} there.`);
    return line;
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    throw refuse(`The ${what} file ${path} cannot be read`, "Check that it is a file.", thrown);
  } finally {
    closeSync(descriptor);
  }
}
