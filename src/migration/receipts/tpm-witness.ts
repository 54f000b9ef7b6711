/**
 * The second witness of this host's generation, where it attests: this home's counter in the host's TPM, which no backup
 * of a disk takes along (SPEC.md, RCPT-8; TPM 2.0 Library, Part 3, TPM2_NV_Increment).
 *
 * A process that does not attest leaves it alone; then the journal's record of it stays as well. A TPM that does not
 * answer stops no handover: a host that attests proves nothing without it, and the others see to that.
 */
import { hasAttestationKey } from "../../attestation/tpm/attestation-key.ts";
import { unopenedHostTpm } from "../../attestation/tpm/host-tpm.ts";
import type { HeldCounter } from "../../attestation/tpm/nv.ts";
import type { TpmPatience } from "../../attestation/tpm/tpm.ts";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import type { Journal } from "../journal/journal.ts";
import type { OwnGeneration } from "../journal/receipt-table.ts";
import { behindTpm, lostTpm } from "./rolled-back.ts";

/** A guest may stand still meanwhile, and other handovers of this host wait for their turn. */
const patience: TpmPatience = { forOthersMs: 3000, commandMs: 3000, makingMs: 3000, wholeMs: 5000 };
/** Where the home's key is still to be made: once, before its first move. */
const firstPatience: TpmPatience = { forOthersMs: 3000, commandMs: 3000, makingMs: 30_000 };
/** One that has failed is left alone for so long, in milliseconds, so that no guest waits twice for it. */
const restMs = 30_000;

/** Gives the counter for as long as `work` lasts. Throws MigrateError, and what `work` throws. */
export type Counting = <T>(work: (counter: HeldCounter) => Promise<T>) => Promise<T>;

export interface TpmWitnessOptions {
  home: string;
  journal: Journal;
  env?: Readonly<Record<string, string | undefined>> | undefined;
  observe: (said: { event: "warning" | "notice"; message: string }) => void;
  /** Whether this process counts for the first time if nobody has; one that only asks does not. */
  mayBegin?: boolean | undefined;
  /** For tests: in place of the TPM. */
  counting?: Counting | undefined;
}

/** How the counter stands to what the journal has of it. */
type Standing = "new" | "same" | "ahead" | "lost";

export class TpmWitness {
  readonly #journal: Journal;
  readonly #observe: TpmWitnessOptions["observe"];
  readonly #mayBegin: boolean;
  readonly #counting: Counting;
  #restsUntilMs = 0;
  #hasWarned = false;

  constructor({ home, journal, env = {}, observe, mayBegin = true, counting }: TpmWitnessOptions) {
    this.#journal = journal;
    this.#observe = observe;
    this.#mayBegin = mayBegin;
    const patienceNow = () => (hasAttestationKey(home) ? patience : firstPatience);
    this.#counting =
      counting ?? ((work) => unopenedHostTpm({ home, env, patience: patienceNow() }).counting(work));
  }

  /** That of a process that attests; undefined for others, which touch no TPM. */
  static of({
    proves,
    ...rest
  }: TpmWitnessOptions & { proves?: boolean | undefined }): TpmWitness | undefined {
    return proves === true ? new TpmWitness(rest) : undefined;
  }

  /** For a person's word on a host that has attested before; undefined on others. Nothing is counted for the first time. */
  static ofHome(options: Omit<TpmWitnessOptions, "mayBegin">): TpmWitness | undefined {
    return hasAttestationKey(options.home) ? new TpmWitness({ ...options, mayBegin: false }) : undefined;
  }

  /** Does `work` with the counter, or with null if the TPM does not give it, which is said once. Throws what `work` throws. */
  async held<T>(work: (counter: HeldCounter | null) => Promise<T>): Promise<T> {
    if (performance.now() < this.#restsUntilMs) return await work(null);
    let hasBegun = false;
    try {
      return await this.#counting((counter) => {
        hasBegun = true;
        return work(counter);
      });
    } catch (thrown) {
      if (hasBegun) throw thrown;
      this.#failed(thrown);
    }
    return await work(null);
  }

  /**
   * Where the counter stands, which is counted for the first time if it may be; null if it was not. Throws MigrateError
   * "in-doubt" if the journal is not the one that it was counted with. `side` is whose journal that is.
   */
  async stands(side: Side, counter: HeldCounter): Promise<number | null> {
    const own = this.#journal.receipts.own();
    switch (standingOf(own, counter)) {
      case "ahead":
        throw behindTpm(side, this.#journal.open());
      case "lost":
        throw lostTpm(side, this.#journal.open());
      case "same":
        return counter.stands;
      case "new":
        return this.#mayBegin ? await this.begin(counter) : null;
    }
  }

  /** Raises it after the record of that is durable. One that cannot be raised is one step behind, and said. */
  async raise(counter: HeldCounter): Promise<number | null> {
    try {
      return await counter.raise();
    } catch (thrown) {
      this.#failed(thrown);
      return null;
    }
  }

  /**
   * Takes the counter as it stands for the witness from here on, and makes it if there is none; a process that dies
   * meanwhile leaves a record by which the next one does the same. Null if the TPM does not do it.
   */
  async begin(counter: HeldCounter): Promise<number | null> {
    this.#record(0);
    const tpm = counter.stands ?? (await this.raise(counter));
    if (tpm === null) return null;
    this.#record(tpm);
    this.#observe({
      event: "notice",
      message: "this host's TPM counts its handovers from now on: a backup of it that is put back is noticed",
    });
    return tpm;
  }

  #record(tpm: number): void {
    this.#journal.write("tpm-witness", ({ receipts }) => receipts.setOwn({ ...receipts.own(), tpm }));
  }

  #failed(thrown: unknown): void {
    if (!(thrown instanceof MigrateError)) throw thrown;
    this.#restsUntilMs = performance.now() + restMs;
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const message = `The TPM does not count this handover, so that a backup of this host that is put back may go unnoticed: ${thrown.message} ${thrown.hint ?? ""}`;
    this.#observe({ event: "warning", message: message.trimEnd() });
  }
}

/** One step behind is where its process died, or the TPM failed, after the record of that step. */
export function standingOf({ tpm }: OwnGeneration, { stands }: HeldCounter): Standing {
  if (tpm === 0 || (tpm === null && stands === null)) return "new";
  if (stands === null) return "lost";
  // The counter is this home's: what the journal does not know of was before it.
  if (tpm === null || stands > tpm) return "ahead";
  return stands < tpm - 1 ? "lost" : "same";
}
