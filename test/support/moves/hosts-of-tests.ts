/** Two hosts and a link for each test of a file, in a folder of its own; nothing of them outlives the test. */
import { join } from "node:path";
import { makeSmallVm, type SmallVm } from "../files/small-vm.ts";
import { eachTestInFolder } from "../system/test-folder.ts";
import { CuttingProxy } from "./cutting-proxy.ts";
import type { Hosts } from "./ownership.ts";
import { lastServing, type Serving, startServing, stopServing } from "./serving.ts";
import { TwoHosts } from "./two-hosts.ts";

/** Adds a VM that is made in `root` when it is first asked for. */
function withVm<Made extends { root: string }>(made: Made): Made & { readonly vm: SmallVm } {
  let vm: SmallVm | undefined;
  return Object.defineProperty(made, "vm", {
    get: () => (vm ??= makeSmallVm(join(made.root, "web1"))),
  }) as Made & { readonly vm: SmallVm };
}

export interface CompiledHosts {
  /** The folder of the test. */
  root: string;
  /** Two hosts that run the compiled binary. */
  hosts: TwoHosts;
  /** A small VM that is called web1, on the source's host; made when it is first asked for. */
  readonly vm: SmallVm;
}

/** Gives each test two hosts that run the compiled binary, and may give it a VM; `prefix` begins the folder's name. */
export function eachTestHasHosts(
  prefix: string,
  take: (made: CompiledHosts) => void,
  options: { insecure?: boolean } = {},
): void {
  eachTestInFolder(prefix, async (root) => {
    const hosts = await TwoHosts.make(join(root, "hosts"), options);
    take(withVm({ root, hosts }));
    return async () => {
      await stopServing();
      await hosts.close();
    };
  });
}

export interface LinkedHosts {
  /** The folder of the test. */
  root: string;
  hosts: Hosts;
  /** The destination, which serves in this process. */
  serving: Serving;
  /** The link, which knows the frames that pass. It leads to whoever began to serve last. */
  proxy: CuttingProxy;
  /** A small VM that is called web1, on the source's host; made when it is first asked for. */
  readonly vm: SmallVm;
}

/**
 * Gives each test two hosts in this very process, joined by a link.
 */
export function eachTestHasLink(prefix: string, take: (made: LinkedHosts) => void): void {
  eachTestInFolder(prefix, async (root) => {
    const hosts = {
      sourceHome: join(root, "a"),
      destinationHome: join(root, "b"),
      store: join(root, "store"),
    };
    const serving = await startServing({ home: hosts.destinationHome, store: hosts.store });
    const proxy = await CuttingProxy.open({
      target: () => (lastServing() ?? serving).address,
      parseFrames: true,
    });
    take(withVm({ root, hosts, serving, proxy }));
    return async () => {
      await stopServing();
      await proxy.close();
    };
  });
}
