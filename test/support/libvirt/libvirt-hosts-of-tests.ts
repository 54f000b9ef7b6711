/** Libvirt hosts for the tests of a file; nothing of them outlives the test. */
import { afterEach } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guestIsBuiltFirst } from "../guests/guests-of-tests.ts";
import { countArrived } from "../runner/lost-guests.ts";
import { killChildren } from "../system/child.ts";
import { LibvirtHost, type LibvirtHostOptions } from "./libvirt-host.ts";

const stopMs = 60_000;

export interface LibvirtHostsOfTests {
  /** A folder of the test, new and empty at first, that is removed after it. */
  folder(): string;
  /** Starts a host, stopped after the test. */
  host(name: string, options?: LibvirtHostOptions): Promise<LibvirtHost>;
}

/** For the top of a test file: gives what starts hosts in each test. */
export function libvirtHostsOfTests(): LibvirtHostsOfTests {
  let made: string | undefined;
  const hosts: LibvirtHost[] = [];
  const folder = (): string => {
    // Short: the paths of sockets have at most 107 bytes.
    made ??= mkdtempSync(join(tmpdir(), "lv-"));
    return made;
  };
  guestIsBuiltFirst();
  afterEach(async () => {
    await killChildren();
    for (const host of hosts) countArrivals(host);
    await Promise.all(hosts.splice(0).map((host) => host.stop()));
    if (made !== undefined) rmSync(made, { recursive: true, force: true });
    made = undefined;
  }, stopMs);
  return {
    folder,
    async host(name, options) {
      const host = await LibvirtHost.start(folder(), name, options);
      hosts.push(host);
      return host;
    },
  };
}

/** Counts the guests that came to a host from elsewhere, among those that QEMU may have lost (runner/lost-guests.ts). */
function countArrivals(host: LibvirtHost): void {
  if (!existsSync(host.folder)) return;
  for (const { path } of host.serialLogs()) {
    const printed = readFileSync(path, "latin1");
    if (printed !== "" && !/^tick 1\r?\n/m.test(printed)) countArrived(printed);
  }
}
