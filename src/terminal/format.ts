/** Numbers as a person reads and writes them. Pure. */
import { MigrateError } from "../protocol/errors.ts";

const binaryUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Bytes in the largest binary unit (1 KiB = 1024 bytes) that leaves a number of at least 1: "1.3 GiB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.95 would print as "1024.0": the next unit begins where the rounding would.
  while (value >= (unit === 0 ? 1024 : 1023.95) && unit < binaryUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${binaryUnits[unit]}`;
}

/** Bytes with the exact count beside the rounded one: "1.3 GiB (1,342,177,280 bytes)". */
export function formatBytesExactly(bytes: number): string {
  const exact = String(Math.round(bytes)).replace(/\B(?=(\d{3})+$)/g, ",");
  return bytes < 1024 ? `${exact} bytes` : `${formatBytes(bytes)} (${exact} bytes)`;
}

/** A rate: "210.3 MiB/s". */
export function formatRate(bytesPerSec: number): string {
  return `${formatBytes(bytesPerSec)}/s`;
}

/** Milliseconds in their two largest units: "450 ms", "3.2 s", "1 m 05 s", "2 h 03 m", "3 d 04 h". */
export function formatDuration(ms: number): string {
  if (ms < 0) return "0 ms";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return twoUnits(seconds, 60, "m", "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return twoUnits(minutes, 60, "h", "m");
  return twoUnits(Math.round(minutes / 60), 24, "d", "h");
}

function twoUnits(small: number, perLarge: number, largeName: string, smallName: string): string {
  const rest = String(small % perLarge).padStart(2, "0");
  return `${Math.floor(small / perLarge)} ${largeName} ${rest} ${smallName}`;
}

/** Time left in milliseconds, in whole seconds, so that it does not flicker: "12 s left", "1 m 05 s left". */
export function formatTimeLeft(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return seconds < 60 ? `${seconds} s left` : `${formatDuration(seconds * 1000)} left`;
}

/** How long ago an instant was; one in the future (a clock set back) reads "just now". */
export function formatAge(thenMs: number, nowMs: number): string {
  const age = nowMs - thenMs;
  if (age < 1000) return "just now";
  return age < 60_000 ? `${Math.floor(age / 1000)} s ago` : `${formatDuration(age)} ago`;
}

/** A part of a whole in percent, rounded down: it is 100 % only when nothing is left. */
export function formatPercent(done: number, whole: number): string {
  const percent = whole <= 0 ? 100 : Math.floor((Math.min(done, whole) / whole) * 100);
  return `${String(percent).padStart(3)} %`;
}

const sizeFactors: Record<string, number> = {
  "": 1,
  B: 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
};

/**
 * A size or rate as rsync and QEMU read it: a number with K, M, G or T for powers of 1024; "KiB" and
 * the like mean the same, and a "/s" behind it is ignored. Returns whole bytes (at least 1).
 * @throws MigrateError "usage" for anything else.
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s?(?:([KMGT])(?:iB)?|B)?(?:\/s)?$/i.exec(text.trim());
  const factor = sizeFactors[match?.[2]?.toUpperCase() ?? ""] ?? 1;
  const bytes = Math.round(Number(match?.[1] ?? Number.NaN) * factor);
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new MigrateError("usage", `"${text}" is not a size`, {
      hint: "Write a number of bytes, or one with K, M, G or T (powers of 1024): 200M.",
    });
  return bytes;
}

const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * A duration with its units (ms, s, m, h, d), largest first: "15m", "1h30m", "500ms". "0" needs no unit.
 * Returns whole milliseconds.
 * @throws MigrateError "usage" for anything else.
 */
export function parseDuration(text: string): number {
  const trimmed = text.trim();
  if (trimmed === "0") return 0;
  let totalMs = 0;
  let previousMs = Number.POSITIVE_INFINITY;
  let at = 0;
  const part = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/y;
  for (let match = part.exec(trimmed); match !== null; match = part.exec(trimmed)) {
    const factor = unitMs[match[2] ?? ""] ?? Number.NaN;
    if (factor >= previousMs) break;
    previousMs = factor;
    totalMs += Number(match[1]) * factor;
    at = part.lastIndex;
  }
  if (at === 0 || at !== trimmed.length || !Number.isSafeInteger(Math.round(totalMs)))
    throw new MigrateError("usage", `"${text}" is not a duration`, {
      hint: "Write a number with its unit, largest first: 10s, 15m, 1h30m.",
    });
  return Math.round(totalMs);
}
