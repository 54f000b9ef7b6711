/** The kinds of VMs that can be moved, by the names that OFFER and the journal use. */
import { MigrateError } from "../../protocol/errors.ts";
import { sweepPrivateCopies } from "../../vm/tpm/private-copy.ts";
import { filesProvider } from "./files/files-provider.ts";
import { libvirtProvider } from "./libvirt/libvirt-provider.ts";
import type { DeliveryPlace, LandingPolicy, Provider } from "./provider.ts";
import { qemuProvider } from "./qemu/qemu-provider.ts";

const providers: readonly Provider[] = [filesProvider, qemuProvider, libvirtProvider];

/**
 * Returns the provider of a session in this host's journal. Throws MigrateError "home-unusable" if this
 * version has no provider of that name.
 */
export function providerOf({ provider: name }: { provider: string }): Provider {
  const found = providers.find((provider) => provider.name === name);
  if (found !== undefined) return found;
  throw new MigrateError("home-unusable", `the journal has a session of the kind "${name}"`, {
    hint: "this version of migrate does not know it: use the version that began it",
  });
}

/** Returns the provider that an offer names. Throws MigrateError "policy" if this host has none. */
export function offeredProvider(name: string): Provider {
  const found = providers.find((provider) => provider.name === name);
  if (found !== undefined) return found;
  throw new MigrateError("policy", `the destination takes no VMs of the kind "${name}"`, {
    side: "destination",
  });
}

/** Every place to which a destination with this store writes something of a VM, the store first. */
export function deliveryPlaces(home: string, store: string, policy: LandingPolicy): DeliveryPlace[] {
  const others = providers.flatMap((provider) => provider.delivers?.(home, policy) ?? []);
  return [{ what: "VMs, a folder each", path: store }, ...others];
}

/** Runs what each provider has to do now and then at a destination (`Provider.upkeep`), and what is to be done for all. */
export function upkeepOfProviders(home: string, isOpen: (session: string) => boolean, nowMs: number): void {
  for (const provider of providers) provider.upkeep?.(home, isOpen, nowMs);
  void sweepPrivateCopies();
}
