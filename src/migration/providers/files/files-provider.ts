/** The provider of VMs that do not run: only files, on both sides. */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Offer } from "../../../protocol/offer.ts";
import type { Arrival, Resident } from "../arrival.ts";
import type { Provider } from "../provider.ts";
import { ownFilesOf, retireFiles } from "./retire.ts";

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
  seal: async (sent) => {
    if (sent.length === 0) return;
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
  retire: async (record) => retireFiles(record, ownFilesOf(record)),
  ownFiles: ownFilesOf,
  answerMs: () => undefined,
  runsThere: () => undefined,
  keep: () => null,
  check: ({ files }: Offer) => ({
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    // Holes need no room, whatever the file's size.
    roomBytes: files.reduce((sum, { bytes, allocatedBytes }) => sum + Math.min(allocatedBytes, bytes), 0),
  }),
  arrive: () => arrival,
  resident: () => resident,
  published: () => ({ disks: [], changes: false }),
};
