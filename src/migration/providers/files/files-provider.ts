/** The provider of VMs that do not run: only files, on both sides. */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Offer } from "../../../protocol/offer.ts";
import { type Landed, relativePath } from "../../../vm/folder/staging.ts";
import type { Arrival, Resident } from "../arrival.ts";
import type { Provider, SealedBound } from "../provider.ts";
import { retireTpmState, tpmAmong } from "../tpm-at-source.ts";
import { leftOutTexts, ramLeftOut, setRamAside } from "./left-out.ts";
import { ownFilesOf, retireFiles } from "./retire.ts";

/** What the destination's journal keeps of a VM that is only files, once it was sealed. */
interface Kept {
  landed?: Landed;
  bound?: SealedBound;
}

const arrival: Arrival = {
  isLive: false,
  hasStreams: false,
  streamed: [],
  streams: undefined,
  cards: undefined,
  patienceMs: null,
  start: async () => {
    throw new MigrateError("bug", "a VM of files alone has nothing to start");
  },
  seal: async ({ streams = [] }) => {
    if (streams.length === 0) return;
    throw new MigrateError("protocol", "the seal names streams, and the VM does not run");
  },
  checkReady: async () => {},
  relink: () => {},
  resume: async () => {},
  end: async () => {},
  leave: () => {},
};

const resident: Resident = {
  program: "files",
  runs: async () => false,
  relink: () => {},
  resume: async () => {},
  end: async () => {},
};

export const filesProvider: Provider = {
  name: "files",
  standsStill: () => false,
  resumeHere: async () => {},
  tpmHere: (record) => {
    const leftOut = ramLeftOut(record);
    return tpmAmong(record.files, leftOut === null ? [] : [leftOut]);
  },
  async retire(record, _home, _departure, warn) {
    await retireTpmState(record, filesProvider.tpmHere(record), warn);
    // While its folder still has its name.
    setRamAside(record);
    retireFiles(record, ownFilesOf(record));
  },
  ownFiles: ownFilesOf,
  leftBehind: leftOutTexts,
  provenOf: () => undefined,
  answerMs: () => undefined,
  runsThere: () => undefined,
  keep: () => null,
  sameKept: () => true,
  sealedPaths: ({ files }) => files.map(relativePath),
  sealed: ({ kept }, { bound }, landed): Kept => ({ ...kept, landed, ...(bound && { bound }) }),
  landed: ({ kept }) => (kept as Kept | null)?.landed ?? {},
  check: ({ files }: Offer) => ({ bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) }),
  stored: ({ files }) => files,
  arrive: () => arrival,
  resident: () => resident,
  published: () => ({ disks: [], changes: false }),
};
