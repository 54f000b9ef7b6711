/**
 * This host's journal, and its witness outside of the journal, held against each other: one process at a time, so that
 * the two are never seen while one of them is ahead (SPEC.md, RCPT-8).
 */
import { join } from "node:path";
import { withHomeLock } from "../../home/home-file.ts";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import type { Journal } from "../journal/journal.ts";
import { FileCounter, type GenerationCounter } from "./generation.ts";
import { behindWitness } from "./rolled-back.ts";

/** Beyond this many receipts a peer's claim of what it has seen is no claim but a lie. */
const mostAhead = 2 ** 32;

export interface WitnessOptions {
  home: string;
  journal: Journal;
  /** The witness outside of the journal; a file of the home if there is no better one. */
  counter?: GenerationCounter | undefined;
}

/** Throws whatever is no failure of the witness. */
function isOurs(thrown: unknown): void {
  if (!(thrown instanceof MigrateError)) throw thrown;
}

export class OwnWitness {
  readonly #lock: string;
  readonly #journal: Journal;
  readonly #counter: GenerationCounter;

  constructor({ home, journal, counter = new FileCounter(home) }: WitnessOptions) {
    this.#lock = join(home, "generation.lock");
    this.#journal = journal;
    this.#counter = counter;
  }

  /** Throws MigrateError "in-doubt" if the journal is older than its witness. `side` is whose journal that is. */
  async require(side: Side): Promise<void> {
    await withHomeLock(this.#lock, () => this.#stands(side));
  }

  /**
   * Records something with the next generation, and raises the witness after that. `record` is given where that is to
   * stand, and keeps both in one durable write, or returns null if there is nothing new to record. Throws as `require`, and
   * what `record` and the lock throw.
   */
  async next<T>(side: Side, record: (witness: number) => T | null): Promise<T | null> {
    return await withHomeLock(this.#lock, async () => {
      const made = record(Number((await this.#stands(side)) + 1n));
      // One that cannot be raised just now is one step behind, and notices that much less: no handover stops for that.
      if (made !== null) await this.#counter.increment().catch(isOurs);
      return made;
    });
  }

  /**
   * Takes the counter as it stands for the witness from here on: where a host gets another one, as a TPM's, which begins
   * anywhere. What was before that is not compared. Throws what the counter throws.
   */
  async adopt(): Promise<void> {
    await withHomeLock(this.#lock, async () => {
      const witness = Number(await this.#counter.read());
      const { receipts } = this.#journal;
      this.#journal.write("witness", () => receipts.setOwn({ ...receipts.own(), witness }));
    });
  }

  /**
   * A person has seen to the VMs of this host, whose journal was restored: it goes on beyond all that it is known to have
   * signed. Returns its generation. Throws MigrateError "policy" if nothing shows that it was restored, or a peer claims
   * what cannot be.
   */
  async settle(): Promise<number> {
    return await withHomeLock(this.#lock, async () => {
      const { receipts } = this.#journal;
      const own = receipts.own();
      const stands = Number(await this.#counter.read());
      const claimed = receipts.claimed();
      if (stands <= own.witness && claimed <= own.generation) {
        throw new MigrateError("policy", "nothing shows that this host's journal was restored", {
          hint: "whether it was is found out when a move begins",
        });
      }
      if (claimed > own.generation + mostAhead) {
        throw new MigrateError("policy", `a peer claims to have seen ${claimed} receipts of this host`, {
          hint: "no host signs so many: see who it is (its moves are refused), and say migrate receipt forget FINGERPRINT",
        });
      }
      // What the witness counted since then was counted by the generation as well.
      const generation = Math.max(own.generation + Math.max(0, stands - own.witness), claimed);
      this.#journal.write("restored", () => {
        receipts.setOwn({ generation, witness: stands });
        receipts.dropClaims();
      });
      return generation;
    });
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
