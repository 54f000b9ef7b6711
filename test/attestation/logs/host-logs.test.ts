/** Which files are read as this host's logs, and which are not. */
import { describe, expect, test } from "bun:test";
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readEventLog, readImaLog } from "../../../src/attestation/logs/host-logs.ts";
import { logLimits } from "../../../src/attestation/logs/log-limits.ts";
import { refusalOf } from "../../support/attestation/refusal-of.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const swtpm = "swtpm:/run/tpm.sock";

describe("with a TPM that is not the host's own", () => {
  let folder: string;
  eachTestInFolder("migrate-host-logs-", (made) => {
    folder = made;
  });

  test("logs are the files that are named, and none without", () => {
    const path = join(folder, "log");
    writeFileSync(path, "events");
    expect(readEventLog({ MIGRATE_TPM: swtpm, MIGRATE_EVENT_LOG: path })?.toString()).toBe("events");
    expect(readImaLog({ MIGRATE_TPM: swtpm, MIGRATE_IMA_LOG: path })?.toString()).toBe("events");
    expect(readImaLog({ MIGRATE_TPM: swtpm, MIGRATE_IMA_LOG: path }, 4)?.toString()).toBe("ts");
    expect(readEventLog({ MIGRATE_TPM: swtpm })).toBeNull();
    expect(readImaLog({ MIGRATE_TPM: swtpm })).toBeNull();
    expect(readEventLog({ MIGRATE_TPM: swtpm, MIGRATE_EVENT_LOG: join(folder, "none") })).toBeNull();
  });

  test("a log of 100 MB is refused before it is read", () => {
    const path = join(folder, "log");
    const fd = openSync(path, "w");
    ftruncateSync(fd, 100_000_000);
    closeSync(fd);
    const before = bytesRead();
    const error = refusalOf(() => readEventLog({ MIGRATE_TPM: swtpm, MIGRATE_EVENT_LOG: path }));
    expect(bytesRead() - before).toBeLessThan(100_000);
    expect(error).toMatchObject({
      code: "tpm-unusable",
      message: `The firmware's log is longer than ${logLimits.eventLogBytes} bytes.`,
    });
    expect(error.message).not.toContain(folder);
    expect(error.hint).toContain(path);
  });

  test("a device that never ends, a folder and a FIFO are no logs", () => {
    const read = (path: string) =>
      refusalOf(() => readImaLog({ MIGRATE_TPM: swtpm, MIGRATE_IMA_LOG: path })).message;
    mkdirSync(join(folder, "folder"));
    expect(read("/dev/zero")).toBe("IMA's list is not a file.");
    expect(read(join(folder, "folder"))).toBe("IMA's list is not a file.");
    expect(Bun.spawnSync(["mkfifo", join(folder, "fifo")]).exitCode).toBe(0);
    expect(read(join(folder, "fifo"))).toBe("IMA's list is not a file.");
  });

  test("a file of the kernel's, which has no size, is refused as soon as it is too long", () => {
    const before = bytesRead();
    const error = refusalOf(() =>
      readEventLog({ MIGRATE_TPM: swtpm, MIGRATE_EVENT_LOG: "/proc/self/pagemap" }),
    );
    expect(error.message).toBe(`The firmware's log is longer than ${logLimits.eventLogBytes} bytes.`);
    expect(bytesRead() - before).toBeLessThan(2 * logLimits.eventLogBytes);
  });

  test("a file of the kernel's, which has no size, is read to its end", () => {
    const text = readImaLog({ MIGRATE_TPM: swtpm, MIGRATE_IMA_LOG: "/proc/self/status" })?.toString();
    expect(text).toContain("voluntary_ctxt_switches");
  });
});

/** By this process so far, from proc(5). */
function bytesRead(): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);
}

test.each(["", "device:/dev/tpmrm0", "device:/dev/tpm0"])(
  "with the host's own TPM (%j) no variable names another log",
  (tpm) => {
    const env = { MIGRATE_TPM: tpm, MIGRATE_EVENT_LOG: import.meta.path, MIGRATE_IMA_LOG: import.meta.path };
    for (const read of [readEventLog, readImaLog]) {
      let log: Buffer | null = null;
      try {
        log = read(env);
      } catch {
        // A host that has such logs, of which only root may read.
      }
      expect(log?.includes("with the host's own TPM") ?? false).toBe(false);
    }
  },
);
