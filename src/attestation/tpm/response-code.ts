/**
 * What a TPM's response codes mean to a person: TPM 2.0 Library Part 2, 6.6 (TPM_RC), one sentence with a way out for
 * each that can be helped. Pure.
 */
import { type ErrorContext, MigrateError } from "../../protocol/errors.ts";

/** MigrateError "tpm-unusable", with the TPM's own code where it is the TPM that refused. */
export class TpmError extends MigrateError {
  /** The response code without what says which handle, session or parameter; null where the TPM said none. */
  readonly rc: number | null;

  constructor(message: string, context: ErrorContext & { rc?: number } = {}) {
    super("tpm-unusable", message, context);
    this.rc = context.rc ?? null;
  }
}

export const rc = {
  badTag: 0x01e,
  failure: 0x101,
  initialize: 0x100,
  locality: 0x907,
  objectMemory: 0x902,
  sessionMemory: 0x903,
  sessionHandles: 0x905,
  yielded: 0x908,
  testing: 0x90a,
  nvRate: 0x920,
  lockout: 0x921,
  retry: 0x922,
  nvUnavailable: 0x923,
  /** Of format one, without the bits that say of which handle, session or parameter. */
  value: 0x084,
  hierarchy: 0x085,
  handle: 0x08b,
  authFail: 0x08e,
  policyFail: 0x09d,
  integrity: 0x09f,
  size: 0x095,
  insufficient: 0x09a,
  eccPoint: 0x0a7,
  badAuth: 0x0a2,
  pcrChanged: 0x128,
  commandCode: 0x143,
  nvUninitialized: 0x14a,
  nvDefined: 0x14c,
} as const;

const formatOne = 0x080;

/** The code without its layer (the kernel's resource manager sets one) and without handle, session or parameter number. */
export function plainCode(responseCode: number): number {
  const code = responseCode & 0xfff;
  return (code & formatOne) !== 0 ? code & 0x0bf : code;
}

/** Codes after which the same command may be sent again (Part 1, 30.3 and Part 2, 6.6.3). */
const passing: readonly number[] = [rc.yielded, rc.testing, rc.nvRate, rc.retry, rc.nvUnavailable];

export function passes(code: number): boolean {
  return passing.includes(code);
}

/** Codes of a TPM that has no room for one more key or session. */
export function isFull(code: number): boolean {
  return code === rc.objectMemory || code === rc.sessionMemory || code === rc.sessionHandles;
}

const words: Readonly<Record<number, readonly [message: string, hint: string]>> = {
  [rc.badTag]: [
    "This host's TPM is a TPM 1.2.",
    "Attestation needs a TPM 2.0; some firmware's setup has a choice between the two.",
  ],
  [rc.failure]: [
    "This host's TPM is in failure mode: it refuses every command.",
    "Start the host again (or its swtpm, with its state folder by an absolute path); a TPM that stays so is broken.",
  ],
  [rc.initialize]: [
    "This host's TPM has not been started: nobody has sent it TPM2_Startup.",
    "A firmware does that at boot; for swtpm: --flags startup-clear,not-need-init.",
  ],
  [rc.locality]: [
    "This host's TPM takes no command from here (locality).",
    "Look at who else uses it, and at the firmware's TPM settings.",
  ],
  [rc.lockout]: [
    "This host's TPM is locked out after wrong passwords.",
    "Wait until it lets go (tpm2_getcap properties-variable says when), or reset it: tpm2_dictionarylockout --clear-lockout.",
  ],
  [rc.hierarchy]: [
    "A hierarchy of this host's TPM is disabled.",
    "Enable the TPM's owner and endorsement hierarchies in the firmware's setup.",
  ],
  [rc.authFail]: [
    "This host's TPM asks for a password that migrate does not know.",
    "Take the password off its owner or endorsement hierarchy: tpm2_changeauth -c owner, -c endorsement.",
  ],
  [rc.objectMemory]: [
    "This host's TPM has no room for another key: programs have left theirs in it.",
    "Flush them: tpm2_flushcontext --transient-object; use /dev/tpmrm0, which does so by itself.",
  ],
  [rc.sessionMemory]: [
    "This host's TPM has no room for another session: programs have left theirs in it.",
    "Flush them: tpm2_flushcontext --loaded-session; use /dev/tpmrm0, which does so by itself.",
  ],
  [rc.commandCode]: [
    "This host's TPM does not know a command that is needed.",
    "It is older than TPM 2.0 revision 1.16, or restricted; look for a firmware update of its maker.",
  ],
};

/** The sentence for a TPM that refused. `code` is plainCode's. */
export function refusal(code: number, command: string): TpmError {
  const same = code === rc.badAuth ? rc.authFail : code === rc.sessionHandles ? rc.sessionMemory : code;
  const [message, hint] = words[same] ?? [];
  const shown = `0x${code.toString(16)}`;
  if (message !== undefined) return new TpmError(message, { hint, rc: code, cause: `${command}: ${shown}` });
  if (passes(code))
    return new TpmError("This host's TPM is busy, and stays so.", {
      hint: "Look at what else uses it, for example with fuser on its device, and try again.",
      rc: code,
    });
  return new TpmError(`This host's TPM refuses ${command} (response code ${shown}).`, {
    hint: `What the code means: tpm2_rc_decode ${shown}.`,
    rc: code,
  });
}
