/**
 * This host's TPM, as attestation needs it. Each call is a conversation of its own, so that other programs come to the
 * TPM in between, and one call at a time goes to it.
 */
import { readTpmKey } from "../../channel/identity.ts";
import type { PcrSelection } from "../structures/platform-state.ts";
import { loadAttestationKey, uniqueOf } from "./attestation-key.ts";
import type { TpmConnector } from "./connection.ts";
import { describeTpm, type TpmDescription } from "./description.ts";
import { connectDevice } from "./device-connection.ts";
import { activateCredential, loadEndorsementKey } from "./endorsement-key.ts";
import { certifyHostKey, makeHostKey, openHostKey } from "./host-key.ts";
import { formatHostKey, parseHostKey } from "./host-key-text.ts";
import { counterIndexOf, type HeldCounter, holdCounter } from "./nv.ts";
import { quoteRegisters, type TpmQuote } from "./registers.ts";
import { TpmError } from "./response-code.ts";
import { connectSocket } from "./socket-connection.ts";
import { readHandles, type Tpm, type TpmOptions, type TpmPatience, usualPatience, withTpm } from "./tpm.ts";
import { type TpmPlace, tpmPlace } from "./tpm-place.ts";

export { type TpmPlace, tpmPlace } from "./tpm-place.ts";

/** Public areas are TPMT_PUBLIC. */
export interface TpmKeys {
  ekPublic: Buffer;
  /** DER; null where the TPM has none. */
  ekCertificate: Buffer | null;
  akPublic: Buffer;
  akName: Buffer;
}

export interface HostTpmOptions {
  /** The opened home (see openHome), where the attestation key's file lies. */
  home: string;
  env: Readonly<Record<string, string | undefined>>;
  /** For tests. */
  patience?: TpmPatience;
  /** For tests: a connection in place of what `env` names. */
  connect?: TpmConnector;
}

/** Any persistent key will do to see that a TPM answers. */
const firstPersistent = 0x8100_0000;

/** As `openHostTpm`, before anything was said to it. Throws MigrateError "tpm-unusable" where there is none. */
export function unopenedHostTpm(options: HostTpmOptions): HostTpm {
  return new HostTpm(options.home, conversationOptions(options));
}

/**
 * This host's TPM, once it has answered. Throws MigrateError "tpm-unusable" where there is none, or none that answers.
 */
export async function openHostTpm(options: HostTpmOptions): Promise<HostTpm> {
  const tpm = unopenedHostTpm(options);
  await tpm.probe();
  return tpm;
}

function conversationOptions({ env, patience = usualPatience, connect }: HostTpmOptions): TpmOptions {
  if (connect !== undefined) return { connect, patience, isAlone: true };
  const place = tpmPlace(env);
  if (place === null)
    throw new TpmError("This host has no TPM.", {
      hint: "Enable it in the firmware's setup; or let MIGRATE_TPM name one (device:PATH, swtpm:PATH).",
    });
  return { connect: connectorOf(place), patience, isAlone: place.kind === "swtpm" };
}

function connectorOf({ kind, path }: TpmPlace): TpmConnector {
  const connect = kind === "swtpm" ? connectSocket : connectDevice;
  return (patienceMs) => connect(path, patienceMs);
}

export class HostTpm {
  readonly #home: string;
  readonly #options: TpmOptions;
  /** Settles once the last call has ended. */
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(home: string, options: TpmOptions) {
    this.#home = home;
    this.#options = options;
  }

  /** Throws TpmError unless a TPM answers. */
  async probe(): Promise<void> {
    await this.#do((tpm) => readHandles(tpm, firstPersistent));
  }

  /** What the TPM says of itself; makes nothing. Throws TpmError. */
  async describe(): Promise<TpmDescription> {
    return await this.#do(describeTpm);
  }

  /** The keys of enrolment; the attestation key is made on first use. Throws TpmError, "home-unusable". */
  async keys(): Promise<TpmKeys> {
    return await this.#do(async (tpm) => {
      const ek = await loadEndorsementKey(tpm);
      const ak = await loadAttestationKey(tpm, this.#home);
      return {
        ekPublic: Buffer.from(ek.publicBytes),
        ekCertificate: ek.certificate,
        akPublic: Buffer.from(ak.publicBytes),
        akName: ak.name,
      };
    });
  }

  /**
   * A quote by the attestation key over the registers, and their values. `qualifyingData` has at most 64 bytes. Throws
   * TpmError, "home-unusable".
   */
  async quote(selection: PcrSelection, qualifyingData: Buffer): Promise<TpmQuote> {
    return await this.#do(async (tpm) => {
      const ak = await loadAttestationKey(tpm, this.#home);
      return await quoteRegisters(tpm, ak.handle, selection, qualifyingData);
    });
  }

  /**
   * The secret of a credential that was made for this TPM's endorsement key and this home's attestation key. Throws
   * TpmError, for one of another too.
   */
  async activate(credentialBlob: Buffer, encryptedSecret: Buffer): Promise<Buffer> {
    return await this.#do(async (tpm) => {
      const endorsementKey = await loadEndorsementKey(tpm);
      const { handle: attestationKey } = await loadAttestationKey(tpm, this.#home);
      const keys = { attestationKey, endorsementKey };
      return await activateCredential(tpm, keys, credentialBlob, encryptedSecret);
    });
  }

  /**
   * Makes a key for this host's identity, bound to the values that the registers have now where some are given, and returns it
   * as it lies in identity.pem (see host-key-text.ts). Throws TpmError.
   */
  async makeHostKey(selection: PcrSelection | null): Promise<string> {
    return formatHostKey(await this.#do((tpm) => makeHostKey(tpm, selection)));
  }

  /** The key of such a text as PKCS #8, PEM. Throws TpmError, "home-unusable" for a text that is damaged. */
  async openHostKey(text: string): Promise<string> {
    const key = parseHostKey(text);
    return await this.#do((tpm) => openHostKey(tpm, key));
  }

  /**
   * The attestation key's word that this TPM made the key of this host's identity, over `qualifyingData` (at most 64
   * bytes), and the key's TPMT_PUBLIC; see checkHostKey for what it shows. Null where the key was not made here. Throws
   * TpmError, "home-unusable".
   */
  async certifyHostKey(
    qualifyingData: Buffer,
  ): Promise<{ certified: Buffer; signature: Buffer; keyPublic: Buffer } | null> {
    const text = readTpmKey(this.#home);
    if (text === null) return null;
    const key = parseHostKey(text);
    return await this.#do(async (tpm) => {
      const ak = await loadAttestationKey(tpm, this.#home);
      const { certified, signature } = await certifyHostKey(tpm, ak.handle, key, qualifyingData);
      return { certified, signature, keyPublic: key.publicBytes };
    });
  }

  /**
   * Holds this home's counter in the TPM while `work` lasts, in one conversation, which others wait for. Throws TpmError,
   * "home-unusable", and what `work` throws.
   */
  async counting<T>(work: (counter: HeldCounter) => Promise<T>): Promise<T> {
    return await this.#do(async (tpm) =>
      work(await holdCounter(tpm, counterIndexOf(await uniqueOf(tpm, this.#home)))),
    );
  }

  /** Calls after this are refused; those under way go on to their end. Idempotent. */
  close(): void {
    this.#isClosed = true;
  }

  #do<T>(work: (tpm: Tpm) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new TypeError("the TPM was closed");
    const done = this.#last.then(() => withTpm(this.#options, work));
    this.#last = done.catch(() => {});
    return done;
  }
}
