import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  askNewSecret,
  askSecret,
  askYes,
  type KeyboardInput,
  readPassphraseFile,
} from "../../src/terminal/prompt.ts";

/** A keyboard in raw mode; `keys` are pressed as soon as somebody listens. */
class Keyboard extends EventEmitter implements KeyboardInput {
  isTTY = true;
  raw = false;
  #keys: (string | Uint8Array)[];

  constructor(...keys: (string | Uint8Array)[]) {
    super();
    this.#keys = keys;
  }

  setRawMode(raw: boolean): void {
    this.raw = raw;
  }

  resume(): void {
    const keys = this.#keys.shift();
    if (keys === undefined) queueMicrotask(() => this.emit("end"));
    else queueMicrotask(() => this.emit("data", Buffer.from(keys)));
  }

  pause(): void {}
}

function ask(keyboard: KeyboardInput) {
  let shown = "";
  const write = (text: string) => {
    shown += text;
  };
  return { options: { input: keyboard, write, question: "Secret: " }, shown: () => shown };
}

describe("asking", () => {
  test("nothing that is typed is shown, and the terminal is as it was afterwards", async () => {
    const keyboard = new Keyboard("hunter2\r");
    const { options, shown } = ask(keyboard);
    expect(await askSecret(options)).toBe("hunter2");
    expect(shown()).toBe("Secret: \n");
    expect(keyboard.raw).toBe(false);
    expect(keyboard.listenerCount("data")).toBe(0);
  });

  test("the echo is off before the question is on the screen", async () => {
    const keyboard = new Keyboard("x\r");
    const states: boolean[] = [];
    await askSecret({ input: keyboard, write: () => states.push(keyboard.raw), question: "Secret: " });
    expect(states).toEqual([true, false]);
  });

  test("backspace and Ctrl-U correct, and characters of several bytes are one", async () => {
    expect(
      await askSecret(
        ask(new Keyboard("wrong\u0015gr\u00fcß\u007f\u007f\u007f\u007f\u007fok\u00fc\n")).options,
      ),
    ).toBe("okü");
    const split = new Keyboard("x");
    const answer = askSecret(ask(split).options);
    await Promise.resolve();
    split.emit("data", Buffer.from([0xc3]));
    split.emit("data", Buffer.from([0xbc, 0x0d]));
    expect(await answer).toBe("xü");
  });

  test.each([
    ["Ctrl-C", "abc\u0003"],
    ["Ctrl-D", "\u0004"],
  ])("%s interrupts, and leaves the terminal as it was", async (_, keys) => {
    const keyboard = new Keyboard(keys);
    await expect(askSecret(ask(keyboard).options)).rejects.toMatchObject({ code: "interrupted" });
    expect(keyboard.raw).toBe(false);
  });

  test("input that ends interrupts", async () => {
    await expect(askSecret(ask(new Keyboard()).options)).rejects.toMatchObject({ code: "interrupted" });
  });

  test("without a terminal it says what helps", async () => {
    const keyboard = new Keyboard("x\r");
    keyboard.isTTY = false;
    await expect(askSecret(ask(keyboard).options)).rejects.toMatchObject({
      code: "usage",
      hint: expect.stringContaining("--passphrase-file"),
    });
  });

  test("a new one is asked for twice, must be the same and not empty", async () => {
    expect(await askNewSecret(ask(new Keyboard("a\r", "a\r")).options)).toBe("a");
    await expect(askNewSecret(ask(new Keyboard("a\r", "b\r")).options)).rejects.toThrow(
      "The two passphrases differ",
    );
    await expect(askNewSecret(ask(new Keyboard("\r")).options)).rejects.toThrow("The passphrase is empty");
  });
});

describe("a passphrase file", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "migrate-passphrase-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function file(text: string, mode = 0o600): string {
    const path = join(folder, "secret");
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  }

  test("its first line is taken, blanks and all", () => {
    expect(readPassphraseFile(file(" pass word \r\nsecond\n"))).toBe(" pass word ");
    expect(readPassphraseFile(file("no newline"))).toBe("no newline");
  });

  test("one that others can read, an empty, a too long and a missing one are refused", () => {
    expect(() => readPassphraseFile(file("x", 0o640))).toThrow("can be read by others");
    expect(() => readPassphraseFile(file("\nx"))).toThrow("empty first line");
    expect(() => readPassphraseFile(file("x".repeat(5000)))).toThrow("too long");
    expect(() => readPassphraseFile(join(folder, "none"))).toThrow("cannot be read");
    expect(() => readPassphraseFile(folder)).toThrow("can");
  });

  test("the passphrase is in no message", () => {
    try {
      readPassphraseFile(file(`secret-word ${"x".repeat(5000)}`));
    } catch (thrown) {
      expect(String(thrown)).not.toContain("secret-word");
    }
    expect.assertions(1);
  });
});

describe("asking for a yes", () => {
  const said = async (...keys: string[]) => {
    const keyboard = new Keyboard(...keys);
    const { options, shown } = ask(keyboard);
    const answer = await askYes(options, "say --yes");
    expect(shown()).toBe("Secret: ");
    expect(keyboard.listenerCount("data")).toBe(0);
    expect(keyboard.raw).toBe(false);
    return answer;
  };

  test("y and yes are one, and nothing else is", async () => {
    for (const yes of ["y\n", "Y\r", "yes\n", " YES \n"]) expect(await said(yes)).toBe(true);
    for (const no of ["\n", "n\n", "yess\n", "yes no\n", "j\n", "y".repeat(100)])
      expect(await said(no)).toBe(false);
    // The end of input is none either.
    expect(await said()).toBe(false);
  });

  test("without a terminal nobody is asked, and the hint says what to give", async () => {
    const keyboard = new Keyboard("y\n");
    keyboard.isTTY = false;
    const { options, shown } = ask(keyboard);
    const thrown = await askYes(options, "say --yes").catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: "usage", hint: "say --yes" });
    expect(shown()).toBe("");
  });
});
