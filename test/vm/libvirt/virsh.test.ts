/** Where libvirt may be reached, and what is made of virsh's complaints. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { checkUri, Virsh } from "../../../src/vm/libvirt/virsh.ts";

describe("a URI", () => {
  test.each(["qemu:///system", "qemu+unix:///system", "qemu+unix:///system?socket=/run/libvirt/other-sock"])(
    "of a system daemon of this host is taken: %s",
    (uri) => expect(checkUri(uri)).toBe(uri),
  );

  test.each([
    ["qemu:///session", "a user's own libvirt session"],
    ["qemu+unix:///session?socket=/run/x", "a user's own libvirt session"],
    ["qemu+ssh://root@hostb/system", "is not a libvirt URI of this host's QEMU VMs"],
    ["xen:///system", "is not a libvirt URI of this host's QEMU VMs"],
    ["qemu:///system?command=/bin/sh", "is not a libvirt URI of this host's QEMU VMs"],
    ["-c", "is not a libvirt URI of this host's QEMU VMs"],
  ])("of anything else is not: %s", (uri, says) => {
    expect(() => checkUri(uri)).toThrow(says);
    try {
      checkUri(uri);
    } catch (thrown) {
      expect((thrown as MigrateError).code).toBe("usage");
      expect((thrown as MigrateError).hint).toContain("qemu:///system");
    }
  });
});

describe("what virsh complains of", () => {
  const virsh = new Virsh("qemu:///system", "source");

  test("is told by its last line, without anything that moves a cursor", () => {
    const error = virsh.failure(
      "start",
      "error: Failed to start domain 'web1'\nerror: internal error: \u001b[2Jno memory\n\n",
    );
    expect(error).toBeInstanceOf(MigrateError);
    expect(error).toMatchObject({ code: "libvirt-failed", side: "source" });
    expect(error.message).toStartWith("libvirt cannot start: internal error: ");
    expect(error.message).not.toContain("\u001b");
  });

  test("is a domain that there is not, or a daemon that is not there", () => {
    expect(virsh.failure("dominfo", "error: failed to get domain 'nope'").code).toBe("vm-invalid");
    const gone = virsh.failure(
      "dominfo",
      "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory",
    );
    expect(gone).toMatchObject({ code: "policy", hint: expect.stringContaining("libvirtd") });
  });
});
