/**
 * This host's identity, whoever keeps its key: the file, a passphrase, or this host's TPM, which is asked only where it made
 * the key. Whoever opens connections loads the identity here.
 */
import { type Identity, type IdentityOptions, loadIdentity, replaceByTpmKey } from "../channel/identity.ts";
import type { PcrSelection } from "./structures/platform-state.ts";
import type { HostTpm } from "./tpm/host-tpm.ts";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * As loadIdentity; `env` names the TPM (see tpmPlace). Throws what that throws, and MigrateError "tpm-unusable" where the
 * TPM that made the key is gone, does not know it, or has other values in the registers that the key is bound to.
 */
export async function loadHostIdentity(
  home: string,
  options: Pick<IdentityOptions, "passphrase"> = {},
  env: Env = process.env,
): Promise<Identity> {
  const openTpmKey = (block: string) => withHostTpm(home, env, (tpm) => tpm.openHostKey(block));
  return await loadIdentity(home, { ...options, openTpmKey });
}

/**
 * Makes a new identity whose key this host's TPM makes, bound to the values that the registers have now where some are
 * given. Another host to all others; what identity there was is lost. Throws "tpm-unusable", "home-unusable".
 */
export async function makeTpmIdentity(
  home: string,
  registers: PcrSelection | null,
  env: Env,
): Promise<Identity> {
  return await withHostTpm(home, env, async (tpm) => {
    const block = await tpm.makeHostKey(registers);
    // Opened before anything is replaced: a TPM that does not give the key out leaves the identity as it is.
    return await replaceByTpmKey(home, block, await tpm.openHostKey(block));
  });
}

/** What speaks to a TPM is loaded only where one is asked. */
async function withHostTpm<T>(home: string, env: Env, work: (tpm: HostTpm) => Promise<T>): Promise<T> {
  const { openHostTpm } = await import("./tpm/host-tpm.ts");
  const tpm = await openHostTpm({ home, env });
  try {
    return await work(tpm);
  } finally {
    tpm.close();
  }
}
