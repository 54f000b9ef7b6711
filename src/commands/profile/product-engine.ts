/**
 * The product's own engine for `migrate profile --engine full` and `--attest`: sendVm, serve and what `migrate attest`
 * does, as the commands run them.
 */
import { mkdirSync } from "node:fs";
import { parseTicket } from "../../channel/ticket.ts";
import { serve } from "../../migration/destination/serve.ts";
import { draftOf, record } from "../../migration/operator/attest/record-host.ts";
import { timeProofs } from "../../migration/operator/attest/time-proofs.ts";
import type { MigrationEvent } from "../../migration/report/events.ts";
import { sendVm } from "../../migration/source/send.ts";
import type {
  FullEngine,
  FullPeer,
  FullSend,
  FullServe,
  FullServing,
} from "../../profiler/engine/full-engine.ts";
import type { ProofMoment, ProofTime } from "../../profiler/statistics/attest-samples.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { usualDoors, usualLanes } from "../cli/threads.ts";

/** A ticket for the whole of a profile, however long. */
const ticketTtlMs = 24 * 3_600_000;

export class ProductEngine implements FullEngine {
  readonly #ended = new AbortController();

  async serve({ home, store, insecure, attesting }: FullServe): Promise<FullServing> {
    mkdirSync(store, { recursive: true, mode: 0o700 });
    const listening = Promise.withResolvers<Extract<MigrationEvent, { event: "listening" }>>();
    serve(
      {
        home,
        listen: [{ host: "127.0.0.1", port: 0 }],
        store,
        once: false,
        maxSessions: 1,
        ticketTtlMs,
        insecure,
        // What is measured is the whole VM on its way.
        index: false,
        ...(attesting && { attesting: { proves: true, demands: false, env: attesting } }),
        workers: usualDoors(),
        passphrase: noPassphrase,
        signal: this.#ended.signal,
      },
      (event) => {
        if (event.event === "listening") listening.resolve(event);
      },
    ).catch(listening.reject);
    const { address, ticket } = await listening.promise;
    return {
      port: Number(address.slice(address.lastIndexOf(":") + 1)),
      ...(ticket === undefined ? {} : { ticket }),
    };
  }

  async send(options: FullSend, linked: () => void): Promise<{ wireBytes: number; proofs: ProofTime[] }> {
    const { home, name, ram, disks, port, ticket, insecure, move = false, attests } = options;
    const proofs: ProofTime[] = [];
    const { wireBytes } = await sendVm(
      {
        home,
        vm: { name, ram, disks },
        address: { host: "127.0.0.1", port },
        ticket: insecure ? undefined : ticket,
        lanes: usualLanes(),
        compression: "off",
        after: move ? "rename" : "keep",
        copy: !move,
        attests,
        retryForMs: 0,
        insecure,
        passphrase: noPassphrase,
        signal: this.#ended.signal,
      },
      (event) => {
        if (event.event === "phase" && event.phase === "prepare") linked();
        if (event.event === "attested")
          proofs.push({ moment: event.moment as ProofMoment, wallMs: event.seconds * 1000 });
      },
    );
    return { wireBytes, proofs };
  }

  async record(peer: FullPeer): Promise<void> {
    record(peer.home, await draftOf({ ...reached(peer), name: "profile" }));
  }

  async prove(peer: FullPeer): Promise<ProofTime[]> {
    return await timeProofs(reached(peer));
  }

  end(): void {
    this.#ended.abort();
  }
}

function reached({ home, port, ticket }: FullPeer) {
  return {
    ...{ home, address: { host: "127.0.0.1", port }, passphrase: noPassphrase },
    ...(ticket === undefined ? {} : { ticket: parseTicket(ticket) }),
  };
}

/** The homes are made for the profile and sealed by nobody. */
const noPassphrase = () => Promise.reject(new MigrateError("bug", "a throwaway home is sealed"));
