/** Makes a policy of a state that a person holds for good, and says how two of them differ. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import { imaRegister } from "../logs/ima-log.ts";
import { knownPrograms } from "../logs/programs.ts";
import { shown } from "../logs/words.ts";
import type { PlatformState } from "../structures/platform-state.ts";
import { type ExplainedState, explainState, isUntouched } from "./explained-state.ts";
import type { KnownEvent, Policy, RegisterRule } from "./policy.ts";

export { comparePolicies } from "./compare.ts";

/** Whose policy it is, who writes it and when, and the keys that were enrolled. */
export type PolicyHead = Omit<Policy, "bank" | "registers">;

export interface RecordOptions {
  /** The registers to judge, each of which is quoted; usualRegisters(state) where a person names none. */
  registers: readonly number[];
  /** Those of them that are judged by their events. */
  byEvents: readonly number[];
  /**
   * The policy that this one replaces: what a person has written into it stays. A register that it ignores stays ignored,
   * and what it allows beside what it requires stays allowed, where the register is judged in the same way.
   */
  before?: Policy | undefined;
}

/** A person reads the policy; GRUB measures a hundred commands or two. */
const mostEvents = 500;

/**
 * The registers that say what a Linux host has booted and change with that alone (TCG PC Client Platform Firmware Profile
 * 1.05, 3.3.4; UAPI Group, Linux TPM PCR Registry): the firmware (0), its option ROMs (2), the boot loader (4), Secure
 * Boot's state and keys (7); and if something was measured into them, GRUB's commands and kernel (8, 9), the kernel's
 * command line (12), shim's keys (14); IMA's (10) if there is a list. Of those that are quoted.
 *
 * Left out: settings and tables (1, 3, 5, 6), which change with a disk or a memory module, and 11, which systemd extends
 * while the host runs.
 */
export function usualRegisters(state: PlatformState): number[] {
  const always = [0, 2, 4, 7];
  const ifUsed = [8, 9, 12, 14, ...(state.imaLog === null ? [] : [imaRegister])];
  return [...always, ...ifUsed.filter((register) => !isUntouched(state, register))]
    .filter((register) => state.registers.has(register))
    .sort((a, b) => a - b);
}

/**
 * The policy that allows this state. A register is recorded by its value, with what was measured into it where the log
 * gives that value; by its events if `byEvents` has it; 10 by IMA's list if there is one, with the programs of a move that
 * it has measured.
 * @throws MigrateError "usage" if a register of `options` was not quoted; "attestation" if one is to be recorded by a log
 *   that does not explain its value; "limit" if it is to be recorded by more than mostEvents events.
 */
export function recordPolicy(state: PlatformState, head: PolicyHead, options: RecordOptions): Policy {
  const explained = explainState(state);
  const rules = [...options.registers]
    .sort((a, b) => a - b)
    .map((register): [number, RegisterRule] => {
      const before = options.before?.bank === state.bank ? options.before.registers.get(register) : undefined;
      if (before?.kind === "ignore") return [register, before];
      const value = state.registers.get(register);
      if (value === undefined)
        throw new MigrateError("usage", `Register ${register} was not quoted.`, {
          hint: "Name registers among those that are asked for.",
        });
      const events = explained.eventsOf(register);
      if (register === imaRegister && state.imaLog !== null)
        return [register, imaRule(explained.ima, before)];
      if (!options.byEvents.includes(register)) {
        const seen = events !== null && events.length <= mostEvents ? events : [];
        return [register, { kind: "value", values: [value], seen }];
      }
      if (events === null || events.length === 0)
        throw new MigrateError(
          "attestation",
          explained.eventLogFault ??
            `The firmware's log does not say what was measured into register ${register}.`,
          { hint: "Record that register by its value." },
        );
      if (events.length > mostEvents)
        throw new MigrateError(
          "limit",
          `More than ${mostEvents} events were measured into register ${register}.`,
          { hint: "Record that register by its value." },
        );
      const required = once(events);
      return [
        register,
        {
          kind: "events",
          required,
          allowed: stillAllowed(before?.kind === "events" ? before.allowed : [], required),
        },
      ];
    });
  return { ...presentable(head), bank: state.bank, registers: new Map(rules) };
}

/** A certificate's issuer is what its maker wrote, and a policy is lines. */
function presentable(head: PolicyHead): PolicyHead {
  const { certificate, digest } = head.endorsementKey;
  const shownCertificate = certificate && { ...certificate, issuer: shown(certificate.issuer) };
  return {
    ...head,
    writtenBy: shown(head.writtenBy),
    endorsementKey: { digest, certificate: shownCertificate },
  };
}

function imaRule(ima: ExplainedState["ima"], before: RegisterRule | undefined): RegisterRule {
  if ("says" in ima)
    throw new MigrateError("attestation", ima.says, { hint: `Record without register ${imaRegister}.` });
  const files = knownPrograms(ima.proven).map(({ digest, name, path }) => ({ digest, name, path }));
  const required = files.filter(({ digest }) => !/^(?:md5|sha1):/.test(digest));
  return {
    kind: "ima",
    required,
    allowed: stillAllowed(before?.kind === "ima" ? before.allowed : [], required),
  };
}

/** What was allowed before, but for what is required now. */
function stillAllowed<Known extends { digest: string; path?: string }>(
  allowed: readonly Known[],
  required: readonly Known[],
): Known[] {
  return allowed.filter(
    ({ digest, path }) => !required.some((known) => known.digest === digest && known.path === path),
  );
}

function once(events: readonly KnownEvent[]): KnownEvent[] {
  return [...new Map(events.map((event) => [event.digest, event])).values()];
}
