/** What the source says of its side, so that the destination can compare it with its own (SPEC.md, The processor). */
import { readProcessor } from "../../../../vm/qemu/processor/read-processor.ts";
import type { Qmp } from "../../../../vm/qemu/qmp/qmp.ts";
import { qmpFailure } from "../../../../vm/qemu/qmp/qmp-error.ts";
import type { Compared } from "./fitted-model.ts";

/**
 * Asks the VM's QEMU; with `check` false nothing is asked, and nothing is to be compared. Throws MigrateError
 * "qemu-failed".
 */
export async function comparedOf(qmp: Qmp, check = true): Promise<Compared> {
  if (!check) return {};
  const { major, minor } = qmp.version;
  try {
    const read = await readProcessor((command, args) => qmp.execute(command, args));
    return { qemu: { major, minor }, ...(read === null ? {} : { processor: read.processor }) };
  } catch (thrown) {
    throw qmpFailure(thrown, "source");
  }
}
