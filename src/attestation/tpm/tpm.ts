/**
 * A conversation with a TPM: commands one after the other (TPM 2.0 Library Part 1, 18), with a deadline each, and with
 * what they leave in the TPM (keys, sessions) flushed at the end, whatever happened.
 *
 * Authorizations are empty passwords, or policy sessions without a password: none of them has an HMAC. So whoever
 * listens on the wires between processor and TPM hears what is said; docs/security.md tells.
 */
import { randomBytes } from "node:crypto";
import { sized, u8, u16, u32 } from "../structures/marshal.ts";
import { StructureReader } from "../structures/structure-reader.ts";
import {
  garbage,
  headerBytes,
  messageMaxBytes,
  slow,
  type TpmConnection,
  type TpmConnector,
} from "./connection.ts";
import { isFull, passes, plainCode, refusal, TpmError } from "./response-code.ts";

/** TPM_RS_PW, Part 2, 7.4. */
const passwordSession = 0x4000_0009;
const tags = { plain: 0x8001, authorized: 0x8002 } as const;

export const handle = {
  owner: 0x4000_0001,
  nothing: 0x4000_0007,
  endorsement: 0x4000_000b,
} as const;

/** TPM_CC, Part 2, 6.5.2: the commands that are spoken here. */
const codes = {
  NV_DefineSpace: 0x12a,
  CreatePrimary: 0x131,
  NV_Increment: 0x134,
  ActivateCredential: 0x147,
  CertifyCreation: 0x14a,
  Duplicate: 0x14b,
  NV_Read: 0x14e,
  PolicySecret: 0x151,
  Create: 0x153,
  Load: 0x157,
  Quote: 0x158,
  FlushContext: 0x165,
  NV_ReadPublic: 0x169,
  PolicyCommandCode: 0x16c,
  ReadPublic: 0x173,
  StartAuthSession: 0x176,
  GetCapability: 0x17a,
  PCR_Read: 0x17e,
  PolicyPCR: 0x17f,
} as const;

export type CommandName = keyof typeof codes;
/** Commands in which a TPM makes a key, which takes some a minute. */
const making: readonly CommandName[] = ["CreatePrimary", "Create"];
/** Commands whose answer begins with a handle. */
const answeringHandle: readonly CommandName[] = ["CreatePrimary", "Load", "StartAuthSession"];

export interface TpmCommand {
  handles?: readonly number[];
  /** Who asks, for each of the first handles: an empty password, or the policy session of that handle. */
  auths?: readonly ("password" | number)[];
  parameters?: readonly Uint8Array[];
}

export interface TpmAnswer {
  /** Of what was made or loaded; zero for other commands. It is flushed at the end. */
  handle: number;
  /** The parameters; whoever reads them ends with `end()`. */
  reader: StructureReader;
}

/** In milliseconds. */
export interface TpmPatience {
  /** For a TPM that another program has: until the connection, and then until the first answer. */
  forOthersMs: number;
  commandMs: number;
  /** For a command that makes a key. */
  makingMs: number;
  /** For one conversation, from before its connection; what its commands may take each if it is absent. */
  wholeMs?: number;
}

export const usualPatience: TpmPatience = { forOthersMs: 10_000, commandMs: 30_000, makingMs: 120_000 };

export interface TpmOptions {
  connect: TpmConnector;
  patience: TpmPatience;
  /** Whether nobody else has keys or sessions in the TPM while this connection lasts, so that what is there was left by the dead. */
  isAlone: boolean;
}

/** For one conversation: others' turn, one key that is made, and one command's time for all the rest. */
const wholeOf = ({ forOthersMs, commandMs, makingMs, wholeMs }: TpmPatience) =>
  wholeMs ?? forOthersMs + commandMs + makingMs;

const firstPauseMs = 5;
const longestPauseMs = 200;
/** Handles asked for at once; a TPM has a few. */
const mostHandles = 64;
const capability = { handles: 1 } as const;
const transientHandles = 0x8000_0000;
const loadedSessions = 0x0200_0000;

/**
 * Connects, does `work`, flushes what it left and closes, also where it throws. Throws TpmError, and what `work` throws.
 */
export async function withTpm<T>(options: TpmOptions, work: (tpm: Tpm) => Promise<T>): Promise<T> {
  const overAtMs = performance.now() + wholeOf(options.patience);
  const connection = await options.connect(options.patience.forOthersMs);
  const tpm = new Tpm(connection, options, overAtMs);
  try {
    return await work(tpm);
  } finally {
    await tpm.flushAll();
    connection.close();
  }
}

export class Tpm {
  readonly #connection: TpmConnection;
  readonly #options: TpmOptions;
  readonly #made = new Set<number>();
  /** When the whole conversation has to be over: a TPM may be slow once, not at every command. */
  readonly #overAtMs: number;
  #hasAnswered = false;
  #isLost = false;

  constructor(
    connection: TpmConnection,
    options: TpmOptions,
    overAtMs = performance.now() + wholeOf(options.patience),
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#overAtMs = overAtMs;
  }

  /** Throws TpmError: with the TPM's code where it refuses, else for what it does not answer or answers wrongly. */
  async run(name: CommandName, command: TpmCommand = {}): Promise<TpmAnswer> {
    // What was made is flushed also when all else has taken too long.
    const overAtMs = name === "FlushContext" ? Number.POSITIVE_INFINITY : this.#overAtMs;
    const deadlineAtMs = Math.min(performance.now() + this.#patienceOf(name), overAtMs);
    if (performance.now() >= overAtMs) throw slow(wholeOf(this.#options.patience));
    let hasSwept = false;
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      const leftMs = Math.max(1, deadlineAtMs - performance.now());
      const answer = await this.#exchange(encode(name, command), leftMs);
      const code = plainCode(answer.readUInt32BE(6));
      if (answer.readUInt32BE(6) === 0) return this.#taken(name, answer);
      if (isFull(code) && this.#options.isAlone && !hasSwept) {
        hasSwept = true;
        await this.#sweep();
      } else if (passes(code) && performance.now() + pauseMs < deadlineAtMs) {
        await Bun.sleep(pauseMs);
      } else {
        throw refusal(code, `TPM2_${name}`);
      }
    }
  }

  /** Flushes a key or session that was made here, before the end. Throws TpmError. */
  async flush(made: number): Promise<void> {
    this.#made.delete(made);
    const { reader } = await this.run("FlushContext", { parameters: [u32(made)] });
    reader.end();
  }

  /** Flushes all that was made here and is still there. Never throws: what is lost is lost. */
  async flushAll(): Promise<void> {
    for (const made of [...this.#made].reverse()) {
      if (this.#isLost) return;
      await this.flush(made).catch(() => {});
    }
  }

  #patienceOf(name: CommandName): number {
    const { forOthersMs, commandMs, makingMs } = this.#options.patience;
    if (name === "FlushContext") return Math.min(forOthersMs, commandMs);
    const usualMs = making.includes(name) ? makingMs : commandMs;
    // Until the first answer it may be another program that has the TPM.
    return this.#hasAnswered ? usualMs : Math.max(forOthersMs, making.includes(name) ? makingMs : 0);
  }

  async #exchange(command: Buffer, timeoutMs: number): Promise<Buffer> {
    try {
      // Whole milliseconds, so that a person is told a round time.
      const answer = await this.#connection.exchange(command, Math.ceil(timeoutMs));
      if (answer.length < headerBytes || answer.readUInt32BE(2) !== answer.length)
        throw garbage("its length is not what it says of it");
      this.#hasAnswered = true;
      return answer;
    } catch (thrown) {
      this.#isLost = true;
      throw thrown;
    }
  }

  #taken(name: CommandName, answer: Buffer): TpmAnswer {
    const reader = new StructureReader(answer.subarray(headerBytes), garbage);
    const tag = answer.readUInt16BE(0);
    let made = 0;
    if (answeringHandle.includes(name)) {
      made = reader.u32();
      this.#made.add(made);
    }
    if (tag === tags.plain) return { handle: made, reader };
    if (tag !== tags.authorized) throw garbage("it begins with an unknown tag");
    const parameters = reader.bytes(reader.u32());
    return { handle: made, reader: new StructureReader(parameters, garbage) };
  }

  /**
   * Flushes keys and sessions that are not this connection's. A process that is killed leaves its own in a TPM without
   * resource manager, where a few make it full for ever.
   */
  async #sweep(): Promise<void> {
    for (const first of [transientHandles, loadedSessions]) {
      for (const found of await readHandles(this, first))
        if (!this.#made.has(found)) await this.flush(found).catch(() => {});
    }
  }
}

/** The handles that there are from `first` on, of its kind (Part 3, 30.2, TPM_CAP_HANDLES). Throws TpmError. */
export async function readHandles(tpm: Tpm, first: number): Promise<number[]> {
  const { reader } = await tpm.run("GetCapability", {
    parameters: [u32(capability.handles), u32(first), u32(mostHandles)],
  });
  reader.u8();
  if (reader.u32() !== capability.handles) throw garbage("another capability than the one asked for");
  const handles = Array.from({ length: reader.count(mostHandles) }, () => reader.u32());
  reader.end();
  return handles;
}

function encode(name: CommandName, { handles = [], auths = [], parameters = [] }: TpmCommand): Buffer {
  const authorizations = Buffer.concat(
    auths.map((auth) =>
      auth === "password"
        ? Buffer.concat([u32(passwordSession), sized(), u8(0), sized()])
        : // continueSession (Part 2, 8.4): the session is flushed by us, whether the command succeeds or not.
          Buffer.concat([u32(auth), sized(randomBytes(16)), u8(1), sized()]),
    ),
  );
  const body = Buffer.concat([
    ...handles.map(u32),
    ...(auths.length === 0 ? [] : [u32(authorizations.length), authorizations]),
    ...parameters,
  ]);
  const bytes = headerBytes + body.length;
  if (bytes > messageMaxBytes) throw new TpmError("A command for this host's TPM would be too long.");
  const tag = auths.length === 0 ? tags.plain : tags.authorized;
  return Buffer.concat([u16(tag), u32(bytes), u32(codes[name]), body]);
}
