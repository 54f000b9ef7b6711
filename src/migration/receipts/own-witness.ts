/**
 * This host's journal, and its witnesses outside of the journal, held against each other: one process at a time, so that
 * they are never seen while one of them is ahead (SPEC.md, RCPT-8).
 */
import { join } from "node:path";
import type { HeldCounter } from "../../attestation/tpm/nv.ts";
import { withHomeLock } from "../../home/home-file.ts";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import type { Journal } from "../journal/journal.ts";
import type { OwnGeneration } from "../journal/receipt-table.ts";
import { FileCounter, type GenerationCounter } from "./generation.ts";
import { behindWitness } from "./rolled-back.ts";
import { standingOf, type TpmWitness } from "./tpm-witness.ts";

/** Beyond this many receipts a peer's claim of what it has seen is no claim but a lie. */
const mostAhead = 2 ** 32;

/**
 * How long a word waits for those of other sessions, in milliseconds: for many times what each may take with a slow TPM
 * (see tpm-witness.ts). A word that gives up is a VM that stands still.
 */
const turnPatienceMs = 120_000;

export interface WitnessOptions {
  home: string;
  journal: Journal;
  /** The witness outside of the journal; a file of the home if there is no better one. */
  counter?: GenerationCounter | undefined;
  /** The second one, of a process that attests. */
  tpm?: TpmWitness | undefined;
}

/** Where the witnesses stand: `tpm` is null where the process leaves that alone, and then stays as it was recorded. */
export type Witnesses = Pick<OwnGeneration, "witness" | "tpm">;

/** Throws whatever is no failure of the witness. */
function isOurs(thrown: unknown): void {
  if (!(thrown instanceof MigrateError)) throw thrown;
}

export class OwnWitness {
  readonly #lock: string;
  readonly #journal: Journal;
  readonly #counter: GenerationCounter;
  readonly #tpm: TpmWitness | undefined;

  constructor({ home, journal, counter = new FileCounter(home), tpm }: WitnessOptions) {
    this.#lock = join(home, "generation.lock");
    this.#journal = journal;
    this.#counter = counter;
    this.#tpm = tpm;
  }

  /** Throws MigrateError "in-doubt" if the journal is older than a witness. `side` is whose journal that is. */
  async require(side: Side): Promise<void> {
    await this.#inTurn(async () => {
      await this.#stands(side);
      await this.#held(async (held) => void (await this.#inTpm(side, held)));
    });
  }

  /**
   * Records something with the next generation, and raises the witnesses after that. `record` is given where they are to
   * stand, and keeps all of it in one durable write, or returns null if there is nothing new to record. Throws as `require`,
   * and what `record` and the lock throw.
   */
  async next<T>(side: Side, record: (witnesses: Witnesses) => T | null): Promise<T | null> {
    return await this.#inTurn(async () => {
      const witness = Number((await this.#stands(side)) + 1n);
      // One conversation with the TPM, to see where it stands and to raise it.
      return await this.#held(async (held) => {
        const inTpm = await this.#inTpm(side, held);
        const made = record({ witness, tpm: inTpm === null ? null : inTpm + 1 });
        if (made === null) return null;
        // One that cannot be raised just now is one step behind, and notices that much less: no handover stops for that.
        await this.#counter.increment().catch(isOurs);
        if (inTpm !== null) await this.#tpm!.raise(held!);
        return made;
      });
    });
  }

  /**
   * A person has seen to the VMs of this host, whose journal was restored or whose TPM is another: it goes on beyond all
   * that it is known to have signed. Returns its generation. Throws MigrateError "policy" if nothing shows that, or a
   * peer claims what cannot be.
   */
  async settle(): Promise<number> {
    return await this.#inTurn(() => this.#held((held) => this.#settle(held)));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return await withHomeLock(this.#lock, work, turnPatienceMs);
  }

  async #settle(held: HeldCounter | null): Promise<number> {
    const { receipts } = this.#journal;
    const own = receipts.own();
    const stands = Number(await this.#counter.read());
    const claimed = receipts.claimed();
    const inTpm = held === null ? "same" : standingOf(own, held);
    const isTpmOff = inTpm === "ahead" || inTpm === "lost";
    if (stands <= own.witness && claimed <= own.generation && !isTpmOff) {
      throw new MigrateError("policy", "nothing shows that this host's journal was restored", {
        hint: "whether it was is found out when a move begins",
      });
    }
    if (claimed > own.generation + mostAhead) {
      throw new MigrateError("policy", `a peer claims to have seen ${claimed} receipts of this host`, {
        hint: "no host signs so many: see who it is (its moves are refused), and say migrate receipt forget FINGERPRINT",
      });
    }
    // What a witness counted since then was counted by the generation as well.
    const missed = [stands - own.witness, own.tpm ? (held?.stands ?? 0) - own.tpm : 0];
    // Another TPM may count from anywhere.
    const most = Math.max(0, ...missed.filter((count) => count <= mostAhead));
    const generation = Math.max(own.generation + most, claimed);
    this.#journal.write("restored", () => {
      // As where one begins: a process that dies from here on leaves the TPM to the next one.
      receipts.setOwn({ generation, witness: stands, ...(isTpmOff ? { tpm: 0 } : {}) });
      receipts.dropClaims();
    });
    if (isTpmOff) await this.#tpm!.begin(held!);
    return generation;
  }

  /** Does `work` with the counter in the TPM; null if this process leaves that alone, or the TPM does not give it. */
  async #held<T>(work: (held: HeldCounter | null) => Promise<T>): Promise<T> {
    return this.#tpm === undefined ? await work(null) : await this.#tpm.held(work);
  }

  async #inTpm(side: Side, held: HeldCounter | null): Promise<number | null> {
    return held === null ? null : await this.#tpm!.stands(side, held);
  }

  /**
   * Raises the witness if the journal has taken the last step alone, as where receipts were dropped. Never throws: it is
   * done at the next step as well.
   */
  async catchUp(): Promise<void> {
    await this.require("destination").catch(() => {});
  }

  async #stands(side: Side): Promise<bigint> {
    const stands = await this.#counter.read();
    const witness = BigInt(this.#journal.receipts.own().witness);
    if (stands > witness) throw behindWitness(side, this.#journal.open());
    // One that is further behind was made anew.
    if (stands === witness - 1n) return (await this.#counter.increment().catch(isOurs)) ?? stands;
    return stands;
  }
}
