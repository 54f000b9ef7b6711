import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type WorkerName, workerAddress } from "../../src/platform/worker.ts";

const names: WorkerName[] = ["door", "indexer", "lane", "stream"];

test("from the sources a worker is the file beside main.ts, whatever the working directory", () => {
  for (const name of names) {
    const address = workerAddress(name, "/somewhere/else/main.ts");
    expect(address).toStartWith("file:///");
    expect(address).toEndWith(`/src/${name}.worker.ts`);
    expect(existsSync(fileURLToPath(address))).toBe(true);
  }
});

test("in the compiled binary a worker is the file inside it", () => {
  expect(workerAddress("lane", "/$bunfs/root/migrate")).toBe("/$bunfs/root/lane.worker.ts");
});
