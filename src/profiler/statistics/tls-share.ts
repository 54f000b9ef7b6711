/**
 * TLS encrypts inside the socket call, where no clock of ours can look. What it costs follows from the
 * kernel's other division, user against system time: a system call copies bytes in system time, TLS
 * encrypts in user time, and all other user time is the same in an `insecure` run of as many bytes. So
 *
 *   cryptography = user time of the tls runs - user time of insecure runs, scaled to the same bytes
 *
 * over all runs of a profile together, and each run gets its part by its own socket time. The kernel counts
 * user and system time by ticks, so this is an estimate, and comes with its error. Pure.
 */
import type { SideName } from "./cells.ts";
import type { Operation, Sample, SideFigures, TlsShare } from "./samples.ts";

/** The operation inside of which TLS does its work, and what that work is. */
const places: Readonly<Record<SideName, { socket: Operation; crypto: Operation }>> = {
  source: { socket: "socket-write", crypto: "encrypt" },
  destination: { socket: "socket-read", crypto: "decrypt" },
};

/** Most kernels count 250 ticks a second; at 100 the error would be half as large again. */
const tickMs = 4;

/**
 * The share of the socket calls that is cryptography, for both sides; undefined if there are no runs
 * of the thesis's engine with `tls` and with `insecure` that have the thread's user and system time.
 */
export function tlsShareOf(
  samples: readonly Sample[],
): { source: TlsShare; destination: TlsShare } | undefined {
  const source = shareOf(samples, "source");
  const destination = shareOf(samples, "destination");
  return source && destination && { source, destination };
}

/** The samples with the cryptography of `tls` in its own operation. Given again, nothing changes. */
export function withTlsShare(
  samples: readonly Sample[],
  share: { source: TlsShare; destination: TlsShare } | undefined,
): Sample[] {
  return samples.map((sample) => {
    if (sample.suite !== "tls" || sample.engine !== "thesis" || share === undefined) return sample;
    return {
      ...sample,
      source: divided(sample.source, "source", share.source.share),
      destination: divided(sample.destination, "destination", share.destination.share),
    };
  });
}

function shareOf(samples: readonly Sample[], side: SideName): TlsShare | undefined {
  const tls = sum(samples, "tls", side);
  const plain = sum(samples, "insecure", side);
  if (tls === undefined || plain === undefined || tls.socketMs === 0) return undefined;
  const scale = tls.bytes / plain.bytes;
  const cryptoMs = tls.userMs - plain.userMs * scale;
  const errorMs = Math.hypot(tickErrorMs(tls), tickErrorMs(plain) * scale);
  return {
    share: Math.min(1, Math.max(0, cryptoMs / tls.socketMs)),
    error: errorMs / tls.socketMs,
  };
}

interface Sum {
  bytes: number;
  userMs: number;
  systemMs: number;
  /** Of the calls to the socket, cryptography inside of them included. */
  socketMs: number;
}

function sum(samples: readonly Sample[], suite: Sample["suite"], side: SideName): Sum | undefined {
  const total = { bytes: 0, userMs: 0, systemMs: 0, socketMs: 0 };
  for (const sample of samples) {
    const { threadUserMs, threadSystemMs, operationsMs } = sample[side];
    if (sample.suite !== suite || sample.engine !== "thesis") continue;
    if (threadUserMs === undefined || threadSystemMs === undefined) continue;
    total.bytes += sample.ramBytes + sample.diskBytes;
    total.userMs += threadUserMs;
    total.systemMs += threadSystemMs;
    total.socketMs += operationsMs[places[side].socket] + operationsMs[places[side].crypto];
  }
  return total.bytes === 0 ? undefined : total;
}

/** Of n ticks each is user time with probability p: the standard error of a binomial share, in time. */
function tickErrorMs({ userMs, systemMs }: Sum): number {
  const wholeMs = userMs + systemMs;
  if (wholeMs === 0) return 0;
  const part = userMs / wholeMs;
  return wholeMs * Math.sqrt((part * (1 - part)) / Math.max(1, wholeMs / tickMs));
}

function divided(figures: SideFigures, side: SideName, share: number): SideFigures {
  const { socket, crypto } = places[side];
  const wholeMs = figures.operationsMs[socket] + figures.operationsMs[crypto];
  return {
    ...figures,
    operationsMs: { ...figures.operationsMs, [crypto]: wholeMs * share, [socket]: wholeMs * (1 - share) },
  };
}
