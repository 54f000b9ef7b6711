/** An input that is moved again and again, each time by a host that has never seen it. */
import { closeSync, openSync } from "node:fs";
import { removeAttribute } from "../../../src/platform/files/xattr.ts";

/** Takes off the mark that a move leaves on the files it released: the next one is of a VM that never left. */
export function unmark(path: string): void {
  const fd = openSync(path, "r");
  removeAttribute(fd, "user.migrate.released");
  closeSync(fd);
}
