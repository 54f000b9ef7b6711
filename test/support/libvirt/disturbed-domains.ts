/** Moves of a libvirt domain that the tests of a file disturb; all begin from one frozen domain, on one pair of hosts. */
import { afterAll, beforeAll, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guestImage } from "../guests/guest-image.ts";
import { DisturbedDomain, type DisturbedOptions } from "./disturbed-domain.ts";
import { FrozenDomain, type FrozenWishes } from "./frozen-domain.ts";
import { LibvirtHost } from "./libvirt-host.ts";

/** The first run of all builds the guest. */
const firstMs = 300_000;
const closeMs = 60_000;
const testMs = 240_000;

export interface DisturbedDomains {
  /** A test that does its work with a move that is to be disturbed. */
  moveTest(what: string, work: (move: DisturbedDomain) => Promise<void>, options?: DisturbedOptions): void;
}

/** For the top of a test file. */
export function disturbedDomains(wishes: FrozenWishes = {}): DisturbedDomains {
  let frozen: FrozenDomain;
  let folder = "";
  const hosts: LibvirtHost[] = [];
  let moves = 0;
  beforeAll(async () => {
    await guestImage();
    // Short: the paths of sockets have at most 107 bytes.
    folder = mkdtempSync(join(tmpdir(), "lv-"));
    for (const name of ["hosta", "hostb"]) hosts.push(await LibvirtHost.start(folder, name));
    frozen = await FrozenDomain.make(hosts[0]!, hosts[1]!, join(folder, "frozen"), wishes);
  }, firstMs);
  afterAll(async () => {
    await Promise.all(hosts.map((host) => host.stop()));
    rmSync(folder, { recursive: true, force: true });
  }, closeMs);
  return {
    moveTest(what, work, options = {}) {
      test(what, () => DisturbedDomain.with(frozen, join(folder, `m${++moves}`), options, work), testMs);
    },
  };
}
