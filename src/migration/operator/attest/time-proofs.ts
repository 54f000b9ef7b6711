/** How long another host takes to prove what it runs: the proofs of a move, asked for on a connection without one. */
import { openHome } from "../../../home/home.ts";
import { Journal } from "../../journal/journal.ts";
import { PeerProofs } from "../../proofs/peer-proofs.ts";
import { type AskedHostOptions, withAskedHost } from "./asked-host.ts";

/** Before which steps a destination proves itself to the source of a VM that runs. */
const moments = ["offer", "start", "release"] as const;

export interface TimedProof {
  moment: (typeof moments)[number];
  /** From the question to the judgement, here. */
  wallMs: number;
}

/**
 * Asks once for each moment of a move, and keeps nothing. Throws as `withAskedHost`, and as PeerProofs.require: that host
 * has to be recorded here, and as it was recorded.
 */
export async function timeProofs(options: AskedHostOptions): Promise<TimedProof[]> {
  const journal = Journal.open(openHome(options.home));
  try {
    return await withAskedHost(options, async ({ home, link, binding }) => {
      const timed: TimedProof[] = [];
      const proofs = new PeerProofs(link, binding, {
        ...{ home, journal, now: Date.now },
        observe: (event) => {
          if (event.event === "attested")
            timed.push({ moment: event.moment as TimedProof["moment"], wallMs: event.seconds * 1000 });
        },
      });
      for (const moment of moments) await proofs.require(moment, "");
      return timed;
    });
  } finally {
    journal.close();
  }
}
