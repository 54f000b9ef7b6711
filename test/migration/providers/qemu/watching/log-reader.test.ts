/** Who follows a log misses nothing, also while a full one makes room for the next. */
import { expect, test } from "bun:test";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LogReader } from "../../../../../src/migration/providers/qemu/watching/log-reader.ts";
import { SerialLog } from "../../../../../src/vm/qemu/attendants/serial-log.ts";
import { eachTestInFolder } from "../../../../support/system/test-folder.ts";

let path: string;
eachTestInFolder("follow-", (folder) => {
  path = join(folder, "a.log");
});

test("its end comes first, then what is added, over turns of the log", () => {
  const log = new SerialLog(path, { fileBytes: 64 });
  log.append(Buffer.from("before ".repeat(10)));
  const reader = new LogReader(path);
  let heard = reader.more();
  expect(heard).toBe("before ".repeat(10));
  let said = heard;
  // At most one whole file between two looks: what two turns take away nobody can show.
  for (const bytes of [1, 10, 63, 64, 65, 100, 3, 120, 0, 64]) {
    const piece = String.fromCharCode(97 + (bytes % 26)).repeat(bytes);
    log.append(Buffer.from(piece));
    said += piece;
    heard += reader.more();
    expect(heard).toBe(said);
  }
  reader.close();
  log.close();
});

test("a letter that is cut in two is whole, and what was given back is nothing", () => {
  writeFileSync(path, Buffer.concat([Buffer.alloc(4096), Buffer.from("späte").subarray(0, 3)]));
  const reader = new LogReader(path);
  const first = reader.more();
  appendFileSync(path, Buffer.from("späte").subarray(3));
  expect(first + reader.more()).toBe("späte");
  reader.close();
});

test("a log that is not there yet is read once it is", () => {
  const reader = new LogReader(path);
  expect(reader.more()).toBe("");
  writeFileSync(path, "now");
  expect(reader.more()).toBe("now");
  reader.close();
});
