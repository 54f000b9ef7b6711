/** The begin of a departure: the last looks at a VM before anybody is called, for `send` and `explain` alike. */
import { requireOpenFiles } from "../../platform/process-limits.ts";
import { policyText } from "../../protocol/vm-policy.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Departure, OpenedVm } from "../providers/departure.ts";
import { requireRetirable } from "../providers/files/retire.ts";
import { providerOf } from "../providers/providers.ts";
import { requireTpmRetirable, tpmFate } from "../providers/tpm-at-source.ts";
import { policyOf } from "./gate/own-policy.ts";

/** Files and connections that a source has open beside the VM's files, with all its lanes and streams. */
const ownOpenFiles = 64;
/** The session's own descriptor of a file, the one lent to the lanes, and one for a moment's look. */
const openFilesOfFile = 3;

/**
 * Opens the VM's files for the session. Returns the departure, and what could not be looked at as a sentence. Throws
 * MigrateError if the VM cannot leave, or somebody else uses its files; then nothing of it is open.
 */
export function beginDeparture(
  opened: OpenedVm,
  record: SessionRecord,
): { departure: Departure; notice: string | null } {
  let departure: Departure | undefined;
  try {
    const { files } = opened.facts;
    requireRetirable(record, providerOf(record).ownFiles(record));
    requireTpmRetirable(record, providerOf(record).tpmHere(record));
    requireOpenFiles(ownOpenFiles + openFilesOfFile * files.length, `sending a VM of ${files.length} files`);
    departure = opened.depart(record.session);
    const { streamed } = departure;
    if (streamed.length > 0) {
      const needed = ownOpenFiles + openFilesOfFile * (files.length + streamed.length);
      requireOpenFiles(needed, `sending a VM of ${streamed.length - 1} disks`);
    }
    return { departure, notice: departure.requireUnheld() };
  } catch (thrown) {
    departure?.close();
    throw thrown;
  }
}

/** What of the VM stays here, what becomes of its virtual TPM's state, and its own policy, as sentences. */
export function leftBehind(record: SessionRecord): string[] {
  const provider = providerOf(record);
  const parts = provider.leftBehind(record);
  const rules = policyText(policyOf(record));
  return [
    ...parts.map(({ what, fate }) => `${record.name} goes without ${what}, ${fate}`),
    ...tpmFate(record, provider.tpmHere(record)),
    ...(rules === null ? [] : [`${record.name} ${rules}, there as well as here: its own policy says so`]),
  ];
}
