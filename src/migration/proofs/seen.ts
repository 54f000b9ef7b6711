/**
 * What a host shows of itself that nobody has recorded yet: its TPM's keys, and its state. At a destination it waits in a
 * file (HOME/attest/….seen) until a person accepts it as that host's policy; nothing is trusted for it.
 */
import { createHash } from "node:crypto";
import { existsSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Policy } from "../../attestation/policy/policy.ts";
import { makeAttestFolder, parsePolicy, policyText } from "../../attestation/policy/policy-file.ts";
import { recordPolicy, usualRegisters } from "../../attestation/policy/record.ts";
import type { PcrSelection, PlatformState } from "../../attestation/structures/platform-state.ts";
import type { Enrolment, Verifier } from "../../attestation/verifier.ts";
import { readHomeFile, replaceHomeFile } from "../../home/home-file.ts";

/** All that a platform measures while it starts and runs: those above are for debuggers and for trusted launch. */
const looked: PcrSelection = {
  bank: "sha256",
  registers: Array.from({ length: 16 }, (_, register) => register),
};

/** Where there is no policy yet. */
const noPolicy = "0".repeat(64);

export interface Seen {
  enrolment: Enrolment;
  state: PlatformState;
}

/** Has a host show its TPM's keys, and its state. Throws as Verifier. */
export async function lookAt(verifier: Verifier, roots: readonly string[] = []): Promise<Seen> {
  const enrolment = await verifier.enrol(roots);
  const { akPublic } = enrolment;
  const question = { selection: looked, policyDigest: noPolicy, akPublic, events: true };
  // A host without IMA has none to show.
  const { state } = await verifier.prove({ ...question, imaFrom: 0 });
  return { enrolment, state };
}

/** About whom, and who says it. */
export interface Recording {
  host: string;
  name: string;
  version: number;
  writtenBy: string;
  writtenAtMs: number;
  /** The registers that are recorded; the usual ones if it is absent. */
  registers?: readonly number[] | undefined;
  /** The policy that it replaces: what a person wrote into it stays. */
  before?: Policy | undefined;
  /** Registers of which the events are recorded in place of the value. */
  byEvents?: readonly number[];
}

/** Unix time as ISO 8601 has it, in UTC, with whole seconds. */
export const isoSeconds = (atMs: number) => new Date(atMs).toISOString().replace(/\.\d+Z$/, "Z");

/** The policy that allows what was seen, and nothing else. */
export function policyOf({ enrolment, state }: Seen, recording: Recording): Policy {
  const { ekPublic, akPublic, certificate, isHostKeyThere } = enrolment;
  const { host, name, version, writtenBy, writtenAtMs, byEvents = [], before } = recording;
  return recordPolicy(
    state,
    {
      ...{ host, name, version, writtenBy },
      writtenAt: isoSeconds(writtenAtMs),
      endorsementKey: {
        digest: createHash("sha256").update(ekPublic).digest("hex"),
        certificate: certificateOf(certificate),
      },
      attestationKey: akPublic,
      tlsKeyInTpm: isHostKeyThere,
    },
    { registers: recording.registers ?? usualRegisters(state), byEvents, before },
  );
}

const certificateOf = (certificate: Enrolment["certificate"]) =>
  certificate && { issuer: certificate.issuer, chainChecked: certificate.chain === "checked" };

const seenPath = (home: string, host: string) => join(home, "attest", `${host.replace(/^sha256:/, "")}.seen`);

/** A host is asked to show itself so often at most, in milliseconds: all of it costs time, and it may come as it likes. */
const seenEveryMs = 10_000;

/**
 * Has a host show itself, and keeps what it showed, in place of what it showed before; nothing if it has done so just now.
 */
export async function noteSeen(
  verifier: Verifier,
  { home, host, name, nowMs }: { home: string; host: string; name: string; nowMs: number },
): Promise<void> {
  const last = statSync(seenPath(home, host), { throwIfNoEntry: false });
  if (last !== undefined && Math.abs(nowMs - last.mtimeMs) < seenEveryMs) return;
  const seen = await lookAt(verifier);
  keep(home, policyOf(seen, { host, name, version: 1, writtenBy: "migrate serve", writtenAtMs: nowMs }));
}

/**
 * Keeps what a host has proven in place of what its policy allows, as the policy that would allow it: what a person wrote
 * into the old one stays, and so do the keys, by which it has proven it. Throws MigrateError as `recordPolicy`, and
 * "home-unusable".
 */
export function noteChanged(home: string, before: Policy, state: PlatformState, nowMs: number): void {
  const { host, name, endorsementKey, attestationKey, tlsKeyInTpm } = before;
  const head = { host, name, version: 1, writtenBy: "migrate serve", writtenAt: isoSeconds(nowMs) };
  const judged = registersOf(before).filter(
    (register) => before.registers.get(register)?.kind === "ignore" || state.registers.has(register),
  );
  keep(
    home,
    recordPolicy(
      state,
      { ...head, endorsementKey, attestationKey, tlsKeyInTpm },
      { registers: judged, byEvents: eventRegistersOf(before), before },
    ),
  );
}

function keep(home: string, policy: Policy): void {
  makeAttestFolder(home);
  replaceHomeFile(seenPath(home, policy.host), policyText(policy));
}

/** The registers that a policy speaks of, and those of them that it judges by events. */
export const registersOf = ({ registers }: Policy) => [...registers.keys()].sort((a, b) => a - b);
export const eventRegistersOf = ({ registers }: Policy) =>
  [...registers].flatMap(([register, { kind }]) => (kind === "events" ? [register] : []));

/** What it has shown was accepted. */
export function forgetSeen(home: string, host: string): void {
  rmSync(seenPath(home, host), { force: true });
}

/** What a host that came here has shown, as the policy that would allow it; null if nothing. Throws as parsePolicy. */
export function readSeen(home: string, host: string): Policy | null {
  const path = seenPath(home, host);
  if (!existsSync(path)) return null;
  const text = readHomeFile(path, 0o022);
  return text === null ? null : parsePolicy(text, path);
}
