/**
 * A destination that is asked to prove what it runs, played by hand: with a platform that a test makes up, and lies where
 * the test wants them. The source that it talks to has a policy for it.
 */
import { expect } from "bun:test";
import type { Binding } from "../../../src/attestation/evidence/binding.ts";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { openHome } from "../../../src/home/home.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { decodeMessage, type MessageBody } from "../../../src/protocol/messages.ts";
import { MadeUpPlatform, type ProofChange } from "../attestation/made-up-platform.ts";
import { accept, type Script, type Visit } from "./hostile-destination.ts";
import type { RawFrame } from "./raw/peer.ts";
import type { TrickedSource, TrickOptions } from "./tricked-source.ts";

/** What is other than it should be in the answer to the CHALLENGE with this number, from 1. */
export type ChangeOf = (number: number, asked: MessageBody<"challenge">) => ProofChange;

export class ProvingDestination {
  readonly platform: MadeUpPlatform;
  readonly #source: TrickedSource;
  /** The source's. */
  #verifier = "";
  /** Challenges so far, on any connection. */
  challenges: MessageBody<"challenge">[] = [];
  /** Names of the frames that came, PING and PONG aside, on any control connection. */
  heard: string[] = [];

  /** What the source said, but for an error, which may come too late to be heard. */
  get said(): string[] {
    return this.heard.filter((name) => name !== "error");
  }

  constructor(source: TrickedSource, platform = new MadeUpPlatform()) {
    this.#source = source;
    this.platform = platform;
  }

  /** The connection of a visit, as the source sees it. */
  bindingOf({ peer, hello }: Visit): Binding {
    return {
      ...{ role: "destination", exporter: peer.exporter() },
      ...{ prover: this.#source.identity.fingerprint, verifier: this.#verifier },
      ...{ session: hello.session ?? "", attempt: hello.attempt ?? 0 },
    };
  }

  /** What is to be so before the source begins: it has an identity, and a policy for this destination. */
  prepare = async (home: string): Promise<void> => {
    const { fingerprint } = await loadIdentity(openHome(home));
    this.#verifier = fingerprint;
    this.platform.recordIn(home, this.#source.identity.fingerprint);
  };

  /** WELCOME of a destination that says it proves what it runs. */
  welcome({ peer }: Visit, change: Partial<MessageBody<"welcome">> = {}): void {
    peer.send("welcome", {
      ...{ version: limits.version, software: "hostile", trusted: true, attests: true },
      ...change,
    });
  }

  /** Proves, fetches included, as often as it is asked; gives the first frame that is about something else. */
  async proveUntil(visit: Visit, changeOf: ChangeOf = () => ({})): Promise<RawFrame> {
    const { peer } = visit;
    for (;;) {
      const frame = await this.next(visit);
      if (frame.name === "challenge") {
        const { body } = decodeMessage("challenge", frame.payload) as { body: MessageBody<"challenge"> };
        this.challenges.push(body);
        const change = changeOf(this.challenges.length, body);
        peer.send("evidence", this.platform.prove(this.bindingOf(visit), body, change));
      } else if (frame.name === "fetch") {
        const { body } = decodeMessage("fetch", frame.payload) as { body: MessageBody<"fetch"> };
        const log = body.log === "events" ? this.platform.eventLog! : this.platform.imaLog!;
        const bytes = log.subarray(body.from, body.from + limits.logPieceBytes);
        peer.send("log", { bytes: bytes.toString("base64") });
      } else return frame;
    }
  }

  async next({ peer }: Visit): Promise<RawFrame> {
    const frame = await peer.next();
    this.heard.push(frame.name!);
    return frame;
  }

  /** A whole move, as an honest destination plays it, but for what changes. */
  honest(changeOf: ChangeOf = () => ({})): Script {
    return async (visit) => {
      this.welcome(visit);
      const { peer } = visit;
      for (;;) {
        const frame = await this.proveUntil(visit, changeOf);
        if (frame.name === "offer") accept(peer);
        else if (frame.name === "seal") {
          const { body } = decodeMessage("seal", frame.payload) as { body: MessageBody<"seal"> };
          peer.send("ready", { digest: body.digest });
        } else if (frame.name === "release") peer.send("owned", {});
        else if (frame.name === "confirm") peer.send("closed", {});
        else return;
      }
    };
  }

  /**
   * The source must end with this sentence, and still own the VM, of which it has told nothing: `heard` has all that it
   * said beside challenges.
   */
  async expectUntold(
    control: Script,
    message: string | RegExp,
    { code = "attestation", ...options }: TrickOptions & { code?: string } = {},
  ): Promise<MigrateError> {
    const error = await this.#source.expectOwner(control, code, message, {
      ...{ attests: true, prepare: this.prepare },
      ...options,
    });
    expect(this.heard).not.toContain("offer");
    expect(this.heard).not.toContain("ask");
    return error;
  }
}
