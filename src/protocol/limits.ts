/**
 * Every number a peer could try to exceed, in one place. A length is checked against these before
 * anything is allocated (SPEC.md, Limits). All are pure constants.
 */
export const limits = {
  /** Version of this protocol. */
  version: 2,
  /** Frame header: payload length (u32) and type (u8). */
  frameHeaderBytes: 5,
  /** Largest payload before the peer has been let in (HELLO, PAIR). */
  strangerPayloadBytes: 4 * 1024,
  /** Largest payload of a control message. */
  controlPayloadBytes: 256 * 1024,
  /** The unit of transfer. */
  chunkBytes: 1024 * 1024,
  /** The unit in which zeros are found; a guest's page. */
  pageBytes: 4096,
  /** Fixed part of a CHUNK payload. */
  chunkHeaderBytes: 32,
  /** Length of a chunk's tag (AES-128-GMAC, full length). */
  tagBytes: 16,
  /** The unit in which a store is searched for what a VM consists of; a chunk has 16. */
  blockBytes: 64 * 1024,
  /** What stands for a block in DESCRIBE: a fingerprint in SPEC.md. */
  blockHashBytes: 8,
  /** Tags in one INVENTORY frame. */
  inventoryTags: 4096,
  /** Chunks in one ACK frame. */
  ackChunks: 1024,
  /** Files of one VM. */
  files: 64,
  /** Logical size of one VM, 8 TiB: its tags fit in 128 MiB. */
  vmBytes: 8 * 1024 ** 4,
  /** Chunks of one lane that were described and have not been sent. */
  describedChunks: 64,
  /** Lanes of one session. */
  lanes: 16,
  /** Offset and tag of a DATA payload. */
  dataHeaderBytes: 24,
  /** Most bytes of a stream in one DATA frame. */
  dataBytes: 512 * 1024,
  /** Bytes of one direction of a stream that may be under way: sent and not acknowledged. */
  streamWindowBytes: 8 * 1024 * 1024,
  /** Channels of a running VM's RAM: the main one and those of multifd. */
  ramStreams: 16,
  /** The definition of a running VM, as JSON. */
  modelBytes: 192 * 1024,
  /** Parts of it: an option of QEMU each. */
  modelParts: 512,
  /** Keys of one part. */
  modelPairs: 128,
  /** Text of one of them. */
  modelTextBytes: 16 * 1024,
  /** Each of the definitions of a libvirt domain, in UTF-8. */
  domainBytes: 96 * 1024,
  /** Features of a running VM's processor; QEMU 7.2 knows some 400. */
  processorFeatures: 512,
  /** Rows in one SESSIONS message. */
  sessionRows: 256,
  /** Refusals in one ANSWER. */
  refusals: 16,
  /** Sessions that one ASK names as ended before its offer. */
  endedSessions: 16,
  /** A structure of a TPM: a key's public area, a quote, a signature. */
  tpmStructureBytes: 2048,
  /** The certificate of an endorsement key. */
  ekCertificateBytes: 8192,
  /** The firmware's event log. */
  eventLogBytes: 4 * 1024 * 1024,
  /** IMA's list of measurements. */
  imaLogBytes: 32 * 1024 * 1024,
  /** A piece of a log in one LOG. */
  logPieceBytes: 128 * 1024,
  /** A host's certificate in a receipt, DER; those that this program makes have some 350. */
  certificateBytes: 2048,
  /** Text of an error that a peer sends. */
  errorTextBytes: 1024,
} as const;

/** Pages in a full chunk. */
export const pagesPerChunk = limits.chunkBytes / limits.pageBytes;

/** Most runs a chunk can have: every second page non-zero. */
export const runsPerChunk = pagesPerChunk / 2;

/** Largest body of a CHUNK: run count, runs and every page. */
export const chunkBodyBytes = 2 + runsPerChunk * 4 + limits.chunkBytes;

/** Chunks of a file of `bytes` bytes. */
export function chunkCount(bytes: number): number {
  return Math.ceil(bytes / limits.chunkBytes);
}

/** Length in bytes of chunk `index` of a file of `bytes` bytes: full but for the last one. */
export function chunkLength(bytes: number, index: number): number {
  return Math.min(limits.chunkBytes, bytes - index * limits.chunkBytes);
}

/** Deadlines in milliseconds, on whichever clock the caller measures them. */
export const deadlines = {
  /** From the connection to the end of the TLS handshake and HELLO. */
  helloMs: 10_000,
  /** A side that has nothing else to send sends PING this often. */
  pingMs: 5_000,
  /** A side that has received nothing for so long takes the link for dead. */
  silenceMs: 20_000,
} as const;
