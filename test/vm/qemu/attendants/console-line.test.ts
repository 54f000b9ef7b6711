/** A console believes nothing of what answers on a line but what a keeper says. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { callLine } from "../../../../src/vm/qemu/attendants/console-line.ts";
import { serialNames } from "../../../../src/vm/qemu/attendants/names.ts";
import { RunFolder } from "../../../../src/vm/qemu/run-folder.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { until } from "../../../support/system/until.ts";

const names = serialNames("serial0", 0);
let run: RunFolder;
const listeners: { stop(closeAll: boolean): void }[] = [];
eachTestInFolder("line-", (folder) => {
  run = RunFolder.at(join(folder, "h"), "web1");
  run.make("0".repeat(32));
  return () => {
    for (const listener of listeners.splice(0)) listener.stop(true);
  };
});

/** Somebody who says this to whoever calls, in pieces, and then hangs up if that is what they do. */
function answering(name: string, pieces: readonly (string | Uint8Array)[], hangsUp = false): string[] {
  const typed: string[] = [];
  listeners.push(
    Bun.listen({
      unix: run.socket(name),
      socket: {
        open: async (socket) => {
          for (const piece of pieces) {
            socket.write(piece);
            // What comes at once would come in one piece.
            await Bun.sleep(1);
          }
          if (hangsUp) socket.end();
        },
        data: (_, bytes) => void typed.push(bytes.toString()),
      },
    }),
  );
  return typed;
}

async function refusal(): Promise<unknown> {
  try {
    (await callLine(run, names)).close();
  } catch (thrown) {
    return thrown;
  }
  throw new Error("it was believed");
}

test("a greeting, its history and what follows are told apart, however they are cut", async () => {
  const text = `{"history":5,"unseen":3,"others":1}\nhistolive`;
  for (const cut of [1, 7, 36, 37, 41, text.length]) {
    answering(names.console, [text.slice(0, cut), text.slice(cut)]);
    const line = await callLine(run, names);
    expect(line.greeting).toEqual({ history: 5, unseen: 3, others: 1 });
    expect(Buffer.from(line.history).toString()).toBe("histo");
    let heard = "";
    const live = Promise.withResolvers<void>();
    line.listen((bytes) => {
      heard += Buffer.from(bytes).toString();
      if (heard === "live") live.resolve();
    });
    await live.promise;
    line.close();
    for (const listener of listeners.splice(0)) listener.stop(true);
  }
});

test.each([
  ["no JSON", "hello\n"],
  ["no end of a line", "x".repeat(10_000)],
  ["an end of a line too late", `{"history":0,"unseen":0,"others":0,"more":"${"x".repeat(1000)}"}\n`],
  ["a history beyond all bounds", '{"history":999999999,"unseen":0,"others":0}\n'],
  ["a negative one", '{"history":-1,"unseen":0,"others":0}\n'],
  ["no numbers", '{"history":"5","unseen":0,"others":0}\n'],
])("%s is no greeting", async (_, said) => {
  answering(names.console, [said]);
  expect(await refusal()).toMatchObject({ code: "protocol" });
});

test("who hangs up before all of it is there is said to", async () => {
  answering(names.console, ['{"history":5,"unseen":0,"others":0}\nhi'], true);
  expect(await refusal()).toMatchObject({ code: "protocol", message: expect.stringContaining("hung up") });
});

test("without a keeper it is QEMU's own line, whichever it has; and nobody there is said", async () => {
  expect(await refusal()).toMatchObject({ code: "qemu-failed" });
  const old = answering(names.program, ["old"]);
  const first = await callLine(run, names);
  expect(first.greeting).toBeNull();
  first.type(Buffer.from("to the old one"));
  const said = Promise.withResolvers<string>();
  first.listen((bytes) => said.resolve(Buffer.from(bytes).toString()));
  expect(await said.promise).toBe("old");
  await until(() => old.length > 0, "what was typed");
  expect(old.join("")).toBe("to the old one");
  first.close();
  answering(names.qemu, ["new"]);
  const second = await callLine(run, names);
  const again = Promise.withResolvers<string>();
  second.listen((bytes) => again.resolve(Buffer.from(bytes).toString()));
  expect(await again.promise).toBe("new");
  second.close();
});
