/** `virsh migrate`, peer to peer (virsh(1), migrate): from libvirtd to libvirtd, and the data from QEMU to QEMU. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Tool } from "../../support/runner/needs.ts";
import { type Child, startChild } from "../../support/system/child.ts";
import { startSshServer } from "../peers/ssh-server.ts";
import type { LibvirtContender } from "./contender.ts";
import type { Ground } from "./ground.ts";
import { domainName } from "./moved-domain.ts";

interface Reach {
  /** The destination's libvirtd as the source's calls it. */
  uri: string;
  /** A process at the destination that it takes. */
  server?: Child;
}

interface Variant {
  needs?: readonly Tool[];
  /** Beside those that all have. */
  flags?: readonly string[];
  /** Makes the destination's libvirtd reachable, in a folder of the run. */
  reach(ground: Ground, folder: string): Promise<Reach>;
}

/** Ours slows down a domain that writes faster than the link carries, unless told otherwise: so do they. */
const usualFlags = [
  "--live",
  "--p2p",
  "--copy-storage-all",
  "--persistent",
  "--undefinesource",
  "--auto-converge",
];

function virshMigrate(
  name: string,
  title: string,
  { needs = [], flags = [], reach }: Variant,
): LibvirtContender {
  return {
    name,
    title,
    needs,
    async prepare(ground, domain, folder) {
      await domain.makeRoom();
      const { uri, server } = await reach(ground, folder);
      const words = [
        "virsh",
        "-q",
        "-c",
        "qemu:///system",
        "migrate",
        ...usualFlags,
        ...flags,
        domainName,
        uri,
      ];
      return {
        start() {
          const child = startChild(ground.source.command(words), { env: { ...process.env, LC_ALL: "C" } });
          return {
            exit: child.exit,
            cpuMs: () => child.cpuMs(),
            said: () => child.stderr().trim(),
            kill: () => child.kill(),
          };
        },
        async cleanUp() {
          await server?.kill();
        },
      };
    },
  };
}

export const plainTcp = virshMigrate("tcp", "virsh migrate, plain TCP", {
  reach: async ({ address }) => ({ uri: `qemu+tcp://${address}/system` }),
});

export const tls = virshMigrate("tls", "virsh migrate --tls, over TLS", {
  needs: [{ program: "openssl", package: "openssl" }],
  flags: ["--tls"],
  reach: async ({ address, clientPki }) => ({ uri: `qemu+tls://${address}/system?pkipath=${clientPki}` }),
});

/** Only what the two libvirtd say to each other goes through ssh. */
export const ssh = virshMigrate("ssh", "virsh migrate, over ssh, its data plain TCP", {
  needs: [
    { program: "ssh", package: "openssh-client" },
    { program: "ssh-keygen", package: "openssh-client" },
    { program: "sshd", package: "openssh-server" },
  ],
  async reach({ address, destination }, folder) {
    const { client, server } = await startSshServer(folder, {
      address,
      destination: destination.command([]),
    });
    // Libvirt knows no options of ssh, but another program in its place (libvirt, uri.html, `command`).
    const program = join(folder, "ssh");
    writeFileSync(program, `#!/bin/sh\nexec ${client.map((word) => `'${word}'`).join(" ")} "$@"\n`);
    chmodSync(program, 0o755);
    return { uri: `qemu+ssh://root@${address}/system?command=${program}`, server };
  },
});
