/** As whom a VM is received by ssh: every account against every need. */
import { expect, test } from "bun:test";
import type { RemoteLook, RootWay } from "../../src/ssh/remote-look.ts";
import { rootFor } from "../../src/ssh/side-rights.ts";

const account = (root: RootWay, writable: boolean): RemoteLook => ({
  ...{ system: "Linux", machine: "x86_64", uid: 1000, user: "ann", cache: "/c", has: [], cached: "" },
  root,
  writable,
});
const files = { qemu: false, libvirt: false };
const store = "/srv/vms";

test("root is root, whatever the VM is", () => {
  for (const needs of [files, { qemu: true, libvirt: false }, { qemu: false, libvirt: true }])
    expect(rootFor(account("yes", true), { ...needs, store: undefined }, "hostb")).toEqual({ bySudo: false });
});

test("sudo is used for what runs, for what is not writable, and where that host chooses the store", () => {
  const rights = (needs: object, writable: boolean, to: string | undefined) =>
    rootFor(account("sudo", writable), { ...files, ...needs, store: to }, "hostb");
  expect(rights({}, true, store)).toEqual({ bySudo: false });
  expect(rights({}, false, store)).toEqual({ bySudo: true });
  expect(rights({}, true, undefined)).toEqual({ bySudo: true });
  expect(rights({ qemu: true }, true, store)).toEqual({ bySudo: true });
  expect(rights({ libvirt: true }, true, store)).toEqual({ bySudo: true });
});

test.each(["asks", "none"] as const)(
  "without sudo (%s) a VM under QEMU is taken, less confined, and others refused",
  (root) => {
    const why = root === "asks" ? "sudo asks it for a password" : "it has no sudo";
    const qemu = rootFor(account(root, true), { ...files, qemu: true, store }, "hostb");
    expect(qemu.bySudo).toBe(false);
    expect(qemu.lacks).toContain(why);
    expect(rootFor(account(root, true), { ...files, store }, "hostb")).toEqual({ bySudo: false });
    const refused = (needs: object, writable: boolean) => () =>
      rootFor(account(root, writable), { ...files, ...needs, store }, "hostb");
    expect(refused({ libvirt: true }, true)).toThrow(
      `takes a domain from root alone, and ann is not: ${why}`,
    );
    expect(refused({}, false)).toThrow(`ann at hostb may not write ${store}, and ${why}`);
    expect(refused({ qemu: true }, false)).toThrow("may not write");
  },
);
