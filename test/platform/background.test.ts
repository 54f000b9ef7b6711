import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { withDeadline } from "../support/system/deadline.ts";

test("a thread that goes into the background gives way, and the others of its process do not", async () => {
  const worker = new Worker(new URL("../support/system/background-worker.ts", import.meta.url).href);
  try {
    const told = new Promise<{ before: number; after: number }>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    worker.postMessage("go");
    const { before, after } = await withDeadline(told, 10_000, "the Worker");
    expect(after).toBe(10);
    const main = readFileSync(`/proc/${process.pid}/stat`, "utf8");
    expect(Number(main.slice(main.lastIndexOf(")") + 2).split(" ")[16])).toBe(before);
  } finally {
    worker.terminate();
  }
});
