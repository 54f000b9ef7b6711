import { describe, expect, test } from "bun:test";
import { join, resolve } from "node:path";
import { eachTestInFolder } from "./support/system/test-folder.ts";

const main = resolve(import.meta.dir, "../src/main.ts");
let folder = "";

eachTestInFolder("migrate-main-", (made) => {
  folder = made;
});

/** The program run from its sources. */
function start(...words: string[]) {
  return Bun.spawn([process.execPath, main, ...words], {
    env: { ...process.env, MIGRATE_HOME: join(folder, "home") },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

describe("the process", () => {
  test("ends with the exit code of the command", async () => {
    const wrong = start("sned");
    expect(await wrong.exited).toBe(2);
    expect(await new Response(wrong.stderr).text()).toContain("Did you mean migrate send?");
    expect(await start("--version").exited).toBe(0);
  });

  test("survives a reader that goes away", async () => {
    const command = `"$0" "$1" send --help | head -c 1 >/dev/null; echo "\${PIPESTATUS[0]}"`;
    const shell = Bun.spawn(["bash", "-c", command, process.execPath, main], {
      stdout: "pipe",
      stderr: "pipe",
    });
    expect(await new Response(shell.stdout).text()).toBe("0\n");
    expect(await new Response(shell.stderr).text()).toBe("");
  });

  test.each([
    ["SIGTERM", 0],
    ["SIGINT", 130],
  ] as const)("serve ends in good order on %s, with exit code %d", async (signal, code) => {
    const serve = start("serve", "--listen", "127.0.0.1:0", "--store", join(folder, "store"), "--json");
    const reader = serve.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`serve ended: ${await new Response(serve.stderr).text()}`);
      text += value;
    }
    expect(JSON.parse(text.split("\n")[0] ?? "")).toMatchObject({
      event: "listening",
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      fingerprint: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      ticket: expect.any(String),
    });
    serve.kill(signal);
    expect(await serve.exited).toBe(code);
  });

  test("asks for the passphrase on a terminal, without echo, before anything else", async () => {
    const secret = "correct horse";
    let seen = "";
    let waiting = { text: "", found: () => {} };
    const decoder = new TextDecoder();
    const until = (text: string) =>
      new Promise<void>((found) => {
        waiting = { text, found };
        if (seen.includes(text)) found();
      });
    const seal = Bun.spawn([process.execPath, main, "id", "--seal"], {
      env: { ...process.env, MIGRATE_HOME: join(folder, "home"), TERM: "xterm" },
      terminal: {
        cols: 80,
        rows: 24,
        data(_terminal, bytes) {
          seen += decoder.decode(bytes, { stream: true });
          if (seen.includes(waiting.text)) waiting.found();
        },
      },
    });
    const ended = seal.exited.then(() => {
      throw new Error(`it ended after writing: ${seen}`);
    });
    ended.catch(() => {});
    await Promise.race([until("New passphrase for this host's identity: "), ended]);
    seal.terminal?.write(`${secret}\r`);
    await Promise.race([until("The same once more: "), ended]);
    seal.terminal?.write(`${secret}\r`);
    expect(await seal.exited).toBe(0);
    seal.terminal?.close();
    expect(seen).not.toContain("correct");
    const id = start("id", "--json");
    expect(JSON.parse(await new Response(id.stdout).text())).toMatchObject({ event: "id", sealed: true });
  });
});
