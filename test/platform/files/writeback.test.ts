import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startWriteback } from "../../../src/platform/files/writeback.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-writeback-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("write-back", () => {
  test("leaves the bytes as they are", () => {
    const path = join(folder, "file");
    const bytes = Buffer.alloc(3 * 1024 * 1024, 5);
    writeFileSync(path, bytes);
    const fd = openSync(path, "r+");
    try {
      startWriteback(fd, 0, bytes.length);
      startWriteback(fd, 1024 * 1024 + 7, 4096);
      startWriteback(fd, 2 ** 41, 4096);
    } finally {
      closeSync(fd);
    }
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test("is silent where there is none, and speaks where the descriptor is wrong", () => {
    const pipe = openSync("/dev/null", "r+");
    try {
      startWriteback(pipe, 0, 4096);
    } finally {
      closeSync(pipe);
    }
    expect(() => startWriteback(-1, 0, 4096)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });
});
