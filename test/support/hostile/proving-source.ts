/**
 * A source that a destination asks to prove what it runs, played by hand: with a platform that a test makes up, and lies
 * where the test wants them. The destination trusts it, and has a policy for it.
 */
import type { Binding } from "../../../src/attestation/evidence/binding.ts";
import { openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { openHome } from "../../../src/home/home.ts";
import { decodeMessage, type MessageBody } from "../../../src/protocol/messages.ts";
import { MadeUpPlatform, type ProofChange } from "../attestation/made-up-platform.ts";
import { type Chip, startChip } from "../tpm/chip.ts";
import { type HostileGround, newSession } from "./hostile-ground.ts";
import type { RawIdentity, RawPeer } from "./raw/peer.ts";

/** A connection past WELCOME, and what a proof on it is bound to. */
export interface ProvingPeer {
  peer: RawPeer;
  session: string;
  binding: Binding;
}

export class ProvingSource {
  readonly identity: RawIdentity;
  readonly platform = new MadeUpPlatform();
  readonly #ground: HostileGround;

  private constructor(ground: HostileGround, identity: RawIdentity) {
    this.#ground = ground;
    this.identity = identity;
  }

  static async of(ground: HostileGround, { recorded = true } = {}): Promise<ProvingSource> {
    const source = new ProvingSource(ground, await ground.trustedSource());
    if (recorded) source.platform.recordIn(ground.home, source.identity.fingerprint);
    return source;
  }

  async join(session = newSession(), attempt = 1): Promise<ProvingPeer> {
    const peer = await this.#ground.joined(this.identity, session, attempt);
    const { fingerprint } = await loadIdentity(this.#ground.home);
    return {
      ...{ peer, session },
      binding: {
        ...{ role: "source", exporter: peer.exporter(), session, attempt },
        ...{ prover: this.identity.fingerprint, verifier: fingerprint },
      },
    };
  }

  /** ATTEST, and EVIDENCE to the CHALLENGE that comes, of a binding that is right but for `change`. */
  async show({ peer, binding }: ProvingPeer, change: ProofChange = {}): Promise<MessageBody<"challenge">> {
    const asked = await peer.send("attest", {}).expect("challenge");
    peer.send("evidence", this.platform.prove(binding, asked, change));
    return asked;
  }

  /** The same, up to VERDICT. */
  async prove(at: ProvingPeer, change: ProofChange = {}): Promise<void> {
    await this.show(at, change);
    for (;;) {
      const frame = await at.peer.next();
      if (frame.name === "verdict") return;
      if (frame.name !== "fetch") throw new Error(`${frame.name} ${frame.payload} in place of VERDICT`);
      const { log, from } = decodeMessage("fetch", frame.payload).body as MessageBody<"fetch">;
      const bytes = log === "events" ? this.platform.eventLog! : this.platform.imaLog!;
      at.peer.send("log", { bytes: bytes.subarray(from).toString("base64") });
    }
  }
}

/**
 * A chip that the honest source of a ground has, which proves itself from now on: the destination has a policy for it, and
 * the other way round if the destination has the same chip.
 */
export async function chipOfHonest(ground: HostileGround, folder: string): Promise<Chip> {
  const chip = await startChip(folder);
  const env = { MIGRATE_TPM: chip.place };
  ground.honest = { proves: true, env };
  const own = openHome(ground.sourceHome);
  await recordChip(ground.home, own, env);
  return chip;
}

/** Writes the policy for the host of a home, which has this chip, into another home. */
export async function recordChip(home: string, of: string, env: { MIGRATE_TPM: string }): Promise<void> {
  const tpm = await openHostTpm({ home: of, env });
  const { akPublic } = await tpm.keys();
  const registers = Array.from({ length: 16 }, (_, register) => register);
  const quote = await tpm.quote({ bank: "sha256", registers }, Buffer.alloc(32));
  tpm.close();
  const { fingerprint } = await loadIdentity(of);
  new MadeUpPlatform(quote.registers).recordIn(openHome(home), fingerprint, { akPublic });
}
