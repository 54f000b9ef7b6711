/** Reads a file of receipts that a person names; what it says is checked elsewhere. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { receiptFileBytes } from "../../migration/receipts/receipt-file.ts";
import { MigrateError } from "../../protocol/errors.ts";

/** Throws MigrateError "file-unusable" if it cannot be read, is no file, or longer than any such file. */
export function readReceipts(path: string): string {
  let fd: number | undefined;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unusable(path, "it is no file");
    if (stat.size > receiptFileBytes) throw unusable(path, "it is longer than receipts are");
    return readFileSync(fd, "utf8");
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    throw unusable(path, (thrown as NodeJS.ErrnoException).code ?? String(thrown), thrown);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function unusable(path: string, why: string, cause?: unknown): MigrateError {
  return new MigrateError("file-unusable", `${path} cannot be read (${why})`, {
    cause,
    hint: "name a file that migrate receipt show has written",
  });
}
