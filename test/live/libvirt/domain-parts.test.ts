/** Domains of libvirt with UEFI, a virtual TPM, huge pages, and devices that were plugged in as they ran. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { ekOfState } from "../../../src/vm/tpm/ek-of-state.ts";
import { pcr16AfterExtend, tpmSealedLine, tpmSecret } from "../../support/guests/tpm-guest.ts";
import { definedDomain, imagesFolder, makeDisk } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import { landedPath, moveDomain } from "../../support/libvirt/moved-domain.ts";
import { type MovingHost, movingHosts } from "../../support/libvirt/moving-hosts.ts";
import { definitionsOf, expectSameDomain, expectWholeTicks } from "../../support/libvirt/same-domain.ts";
import { printedOn, type TickDomain } from "../../support/libvirt/tick-domain.ts";
import { diskXml, nicXml } from "../../support/libvirt/tick-xml.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers, hugepages: true }, "hosta", "hostb");
const limitMs = 180_000;
const nvramOf = (name: string) => `/var/lib/libvirt/qemu/nvram/${name}_VARS.fd`;
const parts = { firmware: "uefi", tpm: true, memory: "hugepages", append: "tpm=extend" } as const;
const tpmFolder = "/var/lib/libvirt/swtpm";

/** What the guest's looks into its TPM showed, wherever it ran: no other PCR, no other secret, nothing refused. */
function expectGoodLooks(name: string): void {
  const printed = printedOn(
    hosts.all().map(({ libvirt }) => libvirt),
    name,
  );
  const looks = [...printed.matchAll(/^(?:pcr16 \w+|unsealed .*?|tpm refused.*?)(?=\r?\n)/gm)].map(([line]) =>
    line.trim(),
  );
  expect(looks.length).toBeGreaterThan(3);
  expect(new Set(looks)).toEqual(new Set([`pcr16 ${pcr16AfterExtend}`, `unsealed ${tpmSecret}`]));
}

/** Waits until the guest has unsealed its secret on this host. */
const unsealed = async (domain: TickDomain) =>
  await domain.waitUntil((text) => /^unsealed /m.test(text), "a look into the TPM", 90_000);

async function plugIn({ libvirt }: MovingHost, name: string, xml: string): Promise<void> {
  const path = `${libvirt.folder}/device.xml`;
  await Bun.write(path, xml);
  await libvirt.virsh("attach-device", name, path, "--live");
}

/** The permanent state of a domain's TPM on a host. */
const tpmState = ({ libvirt }: MovingHost, uuid: string) =>
  libvirt.outside(`${tpmFolder}/${uuid}/tpm2/tpm2-00.permall`);
/** Names of what is left of a domain's TPM where libvirt keeps such. */
const tpmLeft = ({ libvirt }: MovingHost, uuid: string) =>
  readdirSync(libvirt.outside(tpmFolder)).filter((name) => name.startsWith(uuid));
const hexOf = (path: string) => readFileSync(path).toString("hex");

describe("a domain with UEFI, a TPM and huge pages", () => {
  test(
    "moves as it runs, with a disk and a card that were plugged in",
    async () => {
      const name = "uefi-live";
      const uuid = crypto.randomUUID();
      const [a, b] = hosts.all();
      const here = await definedDomain(a.libvirt, { name, uuid, ...parts });
      const there = here.at(b.libvirt);
      await here.start();
      await here.waitForTick(1, 90_000);
      const extra = { path: `${imagesFolder}/extra.raw`, format: "raw", target: "vdb" } as const;
      await makeDisk(a.libvirt, extra);
      await plugIn(a, name, diskXml(extra));
      await plugIn(a, name, nicXml({ mac: "52:54:00:00:00:09" }));
      await unsealed(here);
      const before = await definitionsOf(a.libvirt, name);
      await b.serve("--net-map", "user");
      await moveDomain({
        from: a,
        to: b,
        name,
        files: [`${imagesFolder}/${name}.qcow2`, extra.path, nvramOf(name)],
      });
      await unsealed(there);
      expectGoodLooks(name);
      await expectSameDomain(before, b.libvirt, name);
      const live = await there.xml();
      for (const part of ["extra.raw", "52:54:00:00:00:09", "hugepages", "tpm-tis"])
        expect(live).toContain(part);
      expect(await there.xml("--inactive")).not.toContain("extra.raw");
      expect(readFileSync(`/proc/${there.qemuPid()}/maps`, "latin1")).toContain("/hugepages/");
      expect(tpmLeft(a, uuid)).toEqual([]);
      // Which TPM it is was sealed with it, and is the one that it has.
      const { tpm } = JSON.parse(readFileSync(`${b.store}/${name}/vm.json`, "utf8"));
      expect(await ekOfState(readFileSync(tpmState(b, uuid)))).toEqual(tpm);
      await b.libvirt.virsh("destroy", name);
      const left = `${a.libvirt.outside(nvramOf(name))}.migrated`;
      expect(hexOf(landedPath(b, name, nvramOf(name)))).toBe(hexOf(left));
      expectWholeTicks([a.libvirt, b.libvirt], name);
    },
    limitMs,
  );

  test(
    "moves stopped, and back switched off",
    async () => {
      const name = "uefi-stop";
      const uuid = crypto.randomUUID();
      const [a, b] = hosts.all();
      const here = await definedDomain(a.libvirt, { name, uuid, ...parts });
      const there = here.at(b.libvirt);
      await here.start();
      await unsealed(here);
      const before = await definitionsOf(a.libvirt, name);
      await Promise.all([a.serve(), b.serve()]);
      const files = [`${imagesFolder}/${name}.qcow2`, nvramOf(name)];
      await moveDomain({ from: a, to: b, name, files }, "--mode", "stop");
      expect(hexOf(landedPath(b, name, nvramOf(name)))).toBe(
        hexOf(`${a.libvirt.outside(nvramOf(name))}.migrated`),
      );
      await unsealed(there);
      expectGoodLooks(name);
      await expectSameDomain(before, b.libvirt, name);
      expectWholeTicks([a.libvirt, b.libvirt], name);

      await b.libvirt.virsh("destroy", name);
      const state = hexOf(tpmState(b, uuid));
      await moveDomain({ from: b, to: a, name });
      expect(hexOf(tpmState(a, uuid))).toBe(state);
      expect(tpmLeft(b, uuid)).toEqual([]);
      const back = landedPath(a, name, nvramOf(name));
      expect(hexOf(back)).toBe(hexOf(`${b.store}/${name}.migrated/${name}_VARS.fd`));
      const seen = here.text().length;
      await here.start();
      const isSealed = (text: string) => text.slice(seen).includes(tpmSealedLine);
      await here.waitUntil(isSealed, "its TPM to work", 90_000);
      expectGoodLooks(name);
    },
    limitMs,
  );
});
