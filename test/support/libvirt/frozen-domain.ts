/**
 * A ticking domain that was booted once and saved: each move of a file's tests begins from there, on the same pair of
 * libvirt hosts, which have nothing of an earlier one.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "../system/child.ts";
import { until } from "../system/until.ts";
import { definedDomain, imagesFolder, type TickWishes } from "./defined-domain.ts";
import { serialFolder } from "./emulator-cache.ts";
import type { LibvirtHost } from "./libvirt-host.ts";
import { TickDomain } from "./tick-domain.ts";

/** The disks of the domain, as its host names them: one that grows, and one that is half full. */
export const frozenDisks = [
  { path: `${imagesFolder}/web1.qcow2`, format: "qcow2" },
  { path: `${imagesFolder}/data.raw`, format: "raw" },
] as const;
const diskMiB = 16;
/** Where libvirt has the state of domains' TPMs. */
export const tpmFolder = "/var/lib/libvirt/swtpm";

/** What of the domain differs. */
export type FrozenWishes = Pick<TickWishes, "append" | "onReboot">;

export class FrozenDomain {
  private constructor(
    readonly source: LibvirtHost,
    readonly destination: LibvirtHost,
    private readonly folder: string,
    private readonly xmlPath: string,
    /** What the guest printed until it was frozen. */
    readonly textBefore: string,
  ) {}

  /** Boots the domain on the first of the hosts, and saves it. `folder` must not be there. */
  static async make(
    source: LibvirtHost,
    destination: LibvirtHost,
    folder: string,
    wishes: FrozenWishes = {},
  ): Promise<FrozenDomain> {
    mkdirSync(folder);
    const [grows, full] = frozenDisks;
    const domain = await definedDomain(source, {
      disks: [grows, { ...full, sizeMiB: diskMiB }],
      tpm: true,
      ...wishes,
    });
    await fillHalf(source.outside(full.path));
    await domain.start();
    await domain.waitForTick(3);
    const xmlPath = join(folder, "web1.xml");
    await Bun.write(xmlPath, await domain.xml("--inactive", "--security-info"));
    await source.virsh("save", "web1", join(folder, "memory"));
    const frozen = new FrozenDomain(source, destination, folder, xmlPath, domain.text());
    for (const [from, to] of frozen.#copies) await runChild(["cp", "-a", "--sparse=always", from, to]);
    return frozen;
  }

  /** It goes on at the source, from where it was frozen, and nothing is on either host beside it. */
  async thaw({ autostart = true } = {}): Promise<TickDomain> {
    await Promise.all([this.source, this.destination].map((host) => this.#clear(host)));
    for (const [to, from] of this.#copies) await runChild(["cp", "-a", "--sparse=always", from, to]);
    await this.source.virsh("define", this.xmlPath);
    if (autostart) await this.source.virsh("autostart", "web1");
    await this.source.virsh("restore", join(this.folder, "memory"));
    return new TickDomain(this.source, "web1");
  }

  /** Places on the source, and where they are kept meanwhile. */
  get #copies(): [string, string][] {
    return [
      ...frozenDisks.map(({ path }, n): [string, string] => [
        this.source.outside(path),
        join(this.folder, `disk${n}`),
      ]),
      [this.source.outside(`${tpmFolder}/.`), join(this.folder, "tpm")],
    ];
  }

  async #clear(host: LibvirtHost): Promise<void> {
    if (host.libvirtdPid() === undefined) await host.startLibvirtd();
    for (const name of (await host.virsh("list", "--name")).split("\n").filter(Boolean))
      await host.tryVirsh("destroy", name);
    for (const name of (await host.virsh("list", "--all", "--name")).split("\n").filter(Boolean))
      await host.virsh("undefine", name, "--managed-save", "--nvram");
    const places = [imagesFolder, serialFolder, tpmFolder, "/run/migrate", "/var/lib/libvirt/qemu/save"];
    for (const place of places) {
      const folder = host.outside(place);
      for (const name of existsSync(folder) ? readdirSync(folder) : [])
        rmSync(join(folder, name), { recursive: true, force: true });
    }
    const qemus = () => host.processes().filter((pid) => /qemu-system|swtpm/.test(wordsOf(pid)));
    await until(() => qemus().length === 0, `the end of what runs on ${host.name}`);
  }
}

/** The command line of a process; empty once it has ended. */
export function wordsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

/** The guest's ticks lie in the first half. */
async function fillHalf(path: string): Promise<void> {
  const random = crypto.getRandomValues(new Uint8Array(65_536));
  const file = Bun.file(path);
  const bytes = new Uint8Array(await file.arrayBuffer());
  for (let at = bytes.length / 2; at < bytes.length; at += random.length) bytes.set(random, at);
  await Bun.write(path, bytes);
}
