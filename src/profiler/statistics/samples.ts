/**
 * What a profile measures, as it is kept (`samples.json`) and drawn again (`--replay`). The schema is the contract
 * between the half of the profiler that measures and the half that reports; a file from a newer version is refused
 * with a sentence, never guessed at. Pure.
 */
import * as v from "valibot";

export const samplesVersion = 1;

/** The suites, in the order in which tables and figures show them. */
export const suiteNames = [
  "insecure",
  "tls",
  "aes-128",
  "rc4",
  "3des",
  "aes-128-gcm",
  "chacha20-poly1305",
] as const;
export type SuiteName = (typeof suiteNames)[number];

/** The operations whose CPU time is taken on either side; an operation a side does not do is 0. */
export const operations = [
  "file-read",
  "encrypt",
  "mac",
  "socket-write",
  "socket-read",
  "verify",
  "decrypt",
  "file-write",
  "rest",
] as const;
export type Operation = (typeof operations)[number];

const milliseconds = v.pipe(v.number(), v.finite(), v.minValue(0));
const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const side = v.object({
  /**
   * CPU time of the process over the transfer, getrusage(2) RUSAGE_SELF: from the lane standing to the
   * end that both sides agree on. Connection set-up is apart, in `setup`.
   */
  userMs: milliseconds,
  systemMs: milliseconds,
  /** The same for the working thread alone, RUSAGE_THREAD: what the share of `tls` is computed from. */
  threadUserMs: v.optional(milliseconds),
  threadSystemMs: v.optional(milliseconds),
  /**
   * CPU time by operation on the working thread's CPU clock; "rest" is what remains of the total, so that
   * all of them and `clockMs` together are userMs + systemMs. The event loop's waiting for the socket is
   * part of socket-write on the source and of socket-read on the destination.
   */
  operationsMs: v.object(
    Object.fromEntries(operations.map((operation) => [operation, milliseconds])) as Record<
      Operation,
      typeof milliseconds
    >,
  ),
  /** What reading the clock itself cost, already subtracted from the operations. */
  clockMs: milliseconds,
  clockReads: bytes,
});

const sample = v.object({
  /** Place in the shuffled order of the whole profile, from 0. */
  order: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  suite: v.picklist(suiteNames),
  /** "thesis": one thread, every byte sent. "full": the product's own engine on the same input. */
  engine: v.picklist(["thesis", "full"]),
  ramBytes: bytes,
  /** 0 for a run without disk. */
  diskBytes: bytes,
  wireBytes: bytes,
  /** Connection set-up: from the first SYN to keys on both sides and the lane standing. */
  setup: v.object({ wallMs: milliseconds, sourceCpuMs: milliseconds, destinationCpuMs: milliseconds }),
  source: side,
  destination: side,
  /**
   * Source start to the destination's acknowledged end, set-up included, on the source's clock, without
   * the two below. They are 0 for files that are made up, as nothing is suspended.
   */
  totalMs: milliseconds,
  suspendMs: milliseconds,
  resumeMs: milliseconds,
});

/** What was to be measured, so that a profile which was cut short can be resumed. */
const plan = v.object({
  suites: v.array(v.picklist(suiteNames)),
  engine: v.picklist(["thesis", "full"]),
  /** One entry a RAM size; one for a VM's own files. */
  ramBytes: v.array(bytes),
  /** 0 for the runs without disk. */
  diskBytes: v.array(bytes),
  runs: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** The VM's folder; absent if files were made up. */
  vm: v.optional(v.string()),
});

/** What part of the socket calls' CPU time was TLS's cryptography, and how far that may be off. */
const tlsShare = v.object({
  share: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
  /** One standard error, in the same unit. */
  error: v.pipe(v.number(), v.minValue(0)),
});

export const samplesSchema = v.object({
  format: v.literal("migrate-profile"),
  version: v.literal(samplesVersion),
  /** True if the run was cut short; what is here was measured all the same. */
  partial: v.boolean(),
  startedAt: v.string(),
  seed: v.pipe(v.number(), v.safeInteger()),
  environment: v.object({
    cpu: v.string(),
    cores: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    kernel: v.string(),
    bun: v.string(),
    migrate: v.string(),
    /** "loopback", or the address that was measured to. */
    link: v.string(),
    /** Nanoseconds that one reading of the thread CPU clock costs. */
    clockCostNs: v.pipe(v.number(), v.minValue(0)),
    /**
     * How the cryptography of `tls` was separated from the system calls it runs inside of (tls-share.ts);
     * absent if no run with it was measured, or none to compare it with.
     */
    tlsShare: v.optional(v.object({ source: tlsShare, destination: tlsShare })),
  }),
  /** True if zero bytes were sent like all others, as the thesis did. */
  zeroBytesSent: v.boolean(),
  plan: v.optional(plan),
  samples: v.array(sample),
});

export type Samples = v.InferOutput<typeof samplesSchema>;
export type Plan = v.InferOutput<typeof plan>;
export type TlsShare = v.InferOutput<typeof tlsShare>;
export type Sample = Samples["samples"][number];
export type SideFigures = Sample["source"];
