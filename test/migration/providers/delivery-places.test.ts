/** The places that serve names at its start are those to which its providers write. */
import { expect, test } from "bun:test";
import { dirname } from "node:path";
import { imagePathOf, tpmFolderOf } from "../../../src/migration/providers/libvirt/domain-look.ts";
import { arrivalFolder } from "../../../src/migration/providers/libvirt/landing-place.ts";
import type { LandingPolicy } from "../../../src/migration/providers/provider.ts";
import { deliveryPlaces } from "../../../src/migration/providers/providers.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";

const pathsOf = (policy: LandingPolicy) => deliveryPlaces("/h", "/srv/vms", policy).map(({ path }) => path);
const qemu = { allowTcg: false, net: { kind: "none" as const }, confinement: null };

test("a destination that takes files alone writes to its store alone", () => {
  expect(pathsOf({ qemu: null })).toEqual(["/srv/vms"]);
});

test("one that takes VMs that run names their run folders", () => {
  expect(pathsOf({ qemu })).toEqual(["/srv/vms", dirname(RunFolder.at("/h", "web1").path)]);
});

test("one that takes domains names what libvirt writes, and what is written for it", () => {
  const libvirt = {} as NonNullable<LandingPolicy["libvirt"]>;
  const paths = pathsOf({ qemu: null, libvirt });
  expect(paths).toEqual([
    "/srv/vms",
    "/etc/libvirt/qemu",
    dirname(imagePathOf("web1")),
    dirname(dirname(tpmFolderOf("b7a53f5a", "2.0"))),
    dirname(arrivalFolder({ session: "5e" })),
  ]);
  expect(new Set(paths).size).toBe(5);
});
