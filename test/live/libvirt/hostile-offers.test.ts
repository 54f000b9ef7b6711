/**
 * A source that is trusted, and offers domains that it should not: each is refused by name before anything of it is
 * received, libvirt has nothing of it, and goes on.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import {
  cardOf,
  type DomainOffer,
  HostileSource,
  liveOffer,
  offeredDomain,
} from "../../support/libvirt/hostile/hostile-source.ts";

let at: HostileSource;
const ids = {
  mine: "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f",
  local: "5a6b7c8d-2222-4222-8333-9a0b1c2d3e4f",
  tpm: "5a6b7c8d-3333-4222-8333-9a0b1c2d3e4f",
  oldTpm: "5a6b7c8d-4444-4222-8333-9a0b1c2d3e4f",
  link: "5a6b7c8d-5555-4222-8333-9a0b1c2d3e4f",
};
const tpmFolder = "/var/lib/libvirt/swtpm";

beforeAll(async () => {
  at = await HostileSource.make();
  await definedDomain(at.host, { name: "local", uuid: ids.local });
  // What a TPM has left behind, or another user has put there.
  const place = (uuid: string, version: string) => {
    const folder = at.host.outside(join(tpmFolder, uuid, version));
    mkdirSync(folder, { recursive: true });
    return folder;
  };
  writeFileSync(join(place(ids.tpm, "tpm2"), "tpm2-00.permall"), "state");
  writeFileSync(join(place(ids.oldTpm, "tpm1.2"), "tpm-00.permall"), "state");
  symlinkSync("/etc/planted-by-a-tpm", join(place(ids.link, "tpm2"), "tpm2-00.permall"));
}, 300_000);
beforeEach(() => at.note());
afterEach(() => at.expectNothingLeft(), 60_000);
afterAll(() => at?.close(), 60_000);

const both = (offer: DomainOffer, change: (xml: string) => string) => {
  for (const which of ["defined", "active"]) offer.domain[which] = change(String(offer.domain[which]));
};
/** With this in place of what it has. */
const changed = (from: string | RegExp, to: string) =>
  liveOffer({ uuid: ids.mine }, (offer) =>
    both(offer, (xml) => {
      const after = xml.replace(from, to);
      if (after === xml) throw new Error(`${from} is not in ${xml}`);
      return after;
    }),
  );
const withDevice = (xml: string) => changed("</devices>", `  ${xml}\n  </devices>`);
const withElement = (xml: string) => changed("  <devices>", `  ${xml}\n  <devices>`);
const ofMade = (made: Parameters<typeof liveOffer>[0], change?: Parameters<typeof liveOffer>[1]) => () =>
  liveOffer({ uuid: ids.mine, ...made }, change);
const tpm = (version: string) => `<tpm model='tpm-tis'><backend type='emulator' version='${version}'/></tpm>`;

test("one that keeps to the rules is let in: what is refused below is not refused for another reason", async () => {
  const begun = await at.letIn(liveOffer({ uuid: ids.mine, devices: cardOf("52:54:00:12:34:56") }));
  await at.cancel(begun);
});

const malformed = "<domain type='qemu'>\n  <name>vm1</name>\n";
const rows: [what: string, offer: () => unknown, code: string, says: RegExp][] = [
  // XML that is more than elements.
  [
    "an entity",
    () => changed("<domain", '<!DOCTYPE domain [<!ENTITY a SYSTEM "file:///etc/shadow">]><domain'),
    "policy",
    /document type/,
  ],
  ["a document type", () => changed("<domain", "<!DOCTYPE domain>\n<domain"), "policy", /document type/],
  ["an entity without a declaration", () => changed(">vm1<", ">&a;<"), "policy", /not well-formed/],
  [
    "a processing instruction",
    () => changed("<domain", "<?xml-stylesheet href='file:///etc/passwd'?><domain"),
    "policy",
    /processing instruction/,
  ],
  ["XML that ends early", () => changed(/[\s\S]*/, malformed), "policy", /not well-formed/],
  ["another document", () => changed(/[\s\S]*/, "<network/>\n"), "policy", /not a domain/],
  [
    "elements 10,000 deep",
    () => changed(/[\s\S]*/, "<a>".repeat(10_000) + "</a>".repeat(10_000)),
    "policy",
    /elements deep/,
  ],
  ["10,000 devices", () => withDevice("<hub/>".repeat(10_000)), "policy", /more than 1024 devices/],
  [
    "a definition that is too long",
    () => withDevice("<hub type='usb'/>".repeat(6000)),
    "protocol",
    /too long/,
  ],
  ["1,100 devices", () => withDevice("<hub type='usb'/>".repeat(1100)), "policy", /more than 1024 devices/],
  ["a comment", () => withDevice("<!-- qemu -->"), "policy", /not in the form/],
  ["another order of what it says", () => changed("  <vcpu>1</vcpu>\n", ""), "policy", /has no <vcpu>/],
  // What reaches for the host.
  [
    "qemu:commandline",
    () =>
      changed(
        /[\s\S]*/,
        offeredDomain({ uuid: ids.mine })
          .replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ")
          .replace("</domain>", "<qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>"),
      ),
    "policy",
    /speaks past libvirt/,
  ],
  ["a path of a disk", () => changed("file='a'", "file='/etc/shadow'"), "policy", /not among the values/],
  ["a path that leads up", () => changed("file='a'", "file='../a'"), "policy", /not among the values/],
  ["a block device", () => changed("type='file'", "type='block'"), "policy", /block device/],
  ["an emulator", () => withDevice("<emulator>/bin/sh</emulator>"), "policy", /not in the form/],
  ["a device of the host", () => withDevice("<hostdev mode='subsystem' type='pci'/>"), "policy", /<hostdev>/],
  ["a folder of the host", () => withDevice("<filesystem type='mount'/>"), "policy", /<filesystem>/],
  [
    "a socket of the host",
    () =>
      withDevice(
        "<channel type='unix'><source mode='connect' path='/run/libvirt/libvirt-sock'/><target type='virtio' name='a'/></channel>",
      ),
    "policy",
    /socket of this host/,
  ],
  [
    "a file of the host",
    () => withDevice("<serial type='file'><source path='/etc/cron.d/a'/></serial>"),
    "policy",
    /file of this host/,
  ],
  [
    "a label",
    () => withElement("<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>"),
    "policy",
    /not in the form/,
  ],
  [
    "a program for a card",
    () => withDevice("<interface type='ethernet'><script path='/bin/sh'/></interface>"),
    "policy",
    /script is a program/,
  ],
  // NVRAM that names another file.
  [
    "an NVRAM that is no raw image",
    () => changed("</os>", "  <nvram format='qcow2'>vars</nvram>\n  </os>"),
    "policy",
    /<nvram> is refused: its format is "qcow2"/,
  ],
  [
    "an NVRAM as its firmware is",
    () =>
      changed(
        "</os>",
        "  <loader readonly='yes' type='pflash' format='qcow2'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>\n    <nvram>vars</nvram>\n  </os>",
      ),
    "policy",
    /<nvram> is refused: its format is "qcow2"/,
  ],
  // Who it is.
  [
    "another UUID than is offered",
    ofMade({}, (offer) => {
      offer.vm = ids.link;
    }),
    "protocol",
    /another VM/,
  ],
  [
    "another name than is offered",
    ofMade({}, (offer) => {
      offer.name = "vm2";
    }),
    "protocol",
    /another VM/,
  ],
  [
    "two definitions of two domains",
    ofMade({}, (offer) => {
      offer.domain.defined = offeredDomain({ name: "vm2", uuid: ids.mine });
    }),
    "protocol",
    /another VM/,
  ],
  ["a name that libvirt has", ofMade({ name: "local" }), "name-taken", /domain of this name already/],
  ["a UUID that libvirt has", ofMade({ uuid: ids.local }), "name-taken", /domain of this UUID already/],
  [
    "a name that is a domain's UUID",
    ofMade({ name: ids.local }),
    "name-taken",
    /domain of this name already/,
  ],
  [
    "a UUID that a TPM has",
    ofMade({ uuid: ids.tpm, devices: tpm("2.0") }),
    "name-taken",
    /virtual TPM of this UUID/,
  ],
  [
    "a UUID that a TPM 1.2 has",
    ofMade({ uuid: ids.oldTpm, devices: tpm("1.2") }),
    "name-taken",
    /virtual TPM/,
  ],
  ["a TPM where a link is", ofMade({ uuid: ids.link, devices: tpm("2.0") }), "name-taken", /virtual TPM/],
  // What is not here.
  [
    "a machine that is not here",
    ofMade({ machine: "pc-q35-99.9" }),
    "policy",
    /no QEMU that runs x86_64 machines of the type pc-q35-99.9/,
  ],
  [
    "another architecture",
    ofMade({ machine: "virt", arch: "aarch64" }),
    "policy",
    /no QEMU that runs aarch64/,
  ],
  [
    "a firmware that is not here",
    ofMade({ os: "<loader readonly='yes' type='pflash'>/usr/share/OVMF/none.fd</loader>" }),
    "policy",
    /does not have the firmware/,
  ],
  // Files and what names them.
  [
    "a disk of another format",
    ofMade({}, ({ domain }) => {
      (domain.live as { disks: { format: string }[] }).disks[0]!.format = "qcow2";
    }),
    "protocol",
    /not offered as what it is/,
  ],
  [
    "a disk that is not offered",
    ofMade({}, ({ domain }) => {
      (domain.live as { disks: object[] }).disks = [];
    }),
    "protocol",
    /not offered as what it is/,
  ],
  [
    "a disk that no definition names",
    ofMade({}, (offer) => {
      offer.files.push(fileOf("disk", "b"));
    }),
    "protocol",
    /belongs to no part of it/,
  ],
  [
    "a mirror of a disk at another place",
    ofMade({}, ({ domain }) => {
      (domain.live as { disks: { target: string }[] }).disks[0]!.target = "vdb";
    }),
    "protocol",
    /other disks than are to be mirrored/,
  ],
  [
    "64 mirrored disks",
    ofMade({}, ({ domain }) => {
      const live = domain.live as { disks: object[] };
      live.disks = Array.from({ length: limits.files }, (_, n) => ({
        ...live.disks[0]!,
        name: n === 0 ? "a" : `a${n}`,
      }));
    }),
    "protocol",
    /other disks than are to be mirrored/,
  ],
  [
    "65 mirrored disks",
    ofMade({}, ({ domain }) => {
      const live = domain.live as { disks: object[] };
      live.disks = Array.from({ length: limits.files + 1 }, (_, n) => ({ ...live.disks[0]!, name: `a${n}` }));
    }),
    "protocol",
    /disks/,
  ],
  ["an NVRAM that no definition has", withNvram({ name: "vars", bytes: 4096 }), "protocol", /another NVRAM/],
  ["an NVRAM of 8 TiB", withNvram({ name: "vars", bytes: 8 * 1024 ** 4 }), "protocol", /nvram/],
  ["an NVRAM with a path", withNvram({ name: "../vars", bytes: 4096 }), "name-invalid", /nvram/],
  ["an NVRAM in the disk's place", withNvram({ name: "a", bytes: 4096 }), "protocol", /another NVRAM/],
  [
    "the state of a TPM that it has not",
    ofMade({}, (offer) => {
      offer.files.push(fileOf("tpm", "tpm2-00.permall"));
    }),
    "protocol",
    /belongs to no part/,
  ],
  [
    "memory beside what runs",
    ofMade({}, (offer) => {
      offer.files.push(fileOf("ram", "memory.save"));
    }),
    "protocol",
    /do not fit together/,
  ],
  ["a card without an address", ofMade({ devices: cardOf("") }), "protocol", /cannot be told apart/],
  [
    "two cards with one address",
    ofMade({ devices: cardOf("52:54:00:12:34:56").repeat(2) }),
    "protocol",
    /cannot be told apart/,
  ],
  // What it is at the source.
  [
    "a state that is none",
    ofMade({}, ({ domain }) => {
      domain.state = "crashed";
    }),
    "protocol",
    /state/,
  ],
  [
    "off, and moved as it runs",
    ofMade({}, ({ domain }) => {
      domain.state = "off";
      delete domain.active;
    }),
    "protocol",
    /only what runs|do not fit/,
  ],
  [
    "saved, and moved as it runs",
    ofMade({}, ({ domain }) => {
      domain.state = "saved";
    }),
    "protocol",
    /only what runs/,
  ],
  [
    "running, without what runs",
    ofMade({}, ({ domain }) => {
      delete domain.active;
    }),
    "protocol",
    /state and its definitions/,
  ],
  [
    "no definition at all",
    ofMade({}, ({ domain }) => {
      delete domain.active;
      delete domain.defined;
    }),
    "protocol",
    /definition/,
  ],
  [
    "no domain",
    ofMade({}, (offer) => {
      delete (offer as Partial<DomainOffer>).domain;
    }),
    "protocol",
    /provider/,
  ],
  [
    "a domain of QEMU's provider",
    ofMade({}, (offer) => {
      offer.provider = "qemu";
    }),
    "protocol",
    /provider/,
  ],
];

function fileOf(kind: string, name: string, bytes = 4096) {
  return { kind, name, bytes, allocatedBytes: bytes, ...(kind === "disk" ? { format: "raw" } : {}) };
}

function withNvram(nvram: object) {
  return ofMade({}, ({ domain }) => {
    (domain.live as { nvram?: object }).nvram = nvram;
  });
}

describe("refused before anything is received", () => {
  test.each(rows)(
    "%s",
    async (_what, offer, code, says) => {
      const error = await at.refusalOf(offer());
      expect(error.message).toMatch(says);
      expect(error.code).toBe(code);
    },
    60_000,
  );
});

describe("a domain that does not run", () => {
  const still = (change: (offer: DomainOffer) => void, made: Parameters<typeof liveOffer>[0] = {}) =>
    liveOffer({ uuid: ids.mine, ...made }, (offer) => {
      offer.domain.state = "off";
      delete offer.domain.active;
      delete offer.domain.live;
      offer.files.push(fileOf("disk", "a"));
      change(offer);
    });
  const saved = (offer: DomainOffer, name: string) => {
    Object.assign(offer.domain, { state: "saved", active: offer.domain.defined });
    offer.files.push(fileOf("ram", name));
  };
  test.each([
    ["memory by another name", (offer) => saved(offer, "memory"), /belongs to no part/],
    [
      "memory twice",
      (offer) => {
        saved(offer, "memory.save");
        offer.files.push(fileOf("ram", "b"));
      },
      /do not fit together/,
    ],
    ["memory as libvirt reads it", (offer) => saved(offer, "memory.restoring"), /belongs to no part/],
    [
      "a file that nobody names",
      (offer) => {
        offer.files.push(fileOf("disk", "b"));
      },
      /belongs to no part/,
    ],
    [
      "a disk as something else",
      (offer) => {
        offer.files[0]!.kind = "boot";
      },
      /not offered as what it is/,
    ],
    [
      "a disk of another format",
      (offer) => {
        offer.files[0]!.format = "qcow2";
      },
      /not offered as what it is/,
    ],
    [
      "a disk of no format",
      (offer) => {
        delete offer.files[0]!.format;
      },
      /not offered as what it is/,
    ],
  ] as [string, (offer: DomainOffer) => void, RegExp][])("%s", async (_what, change, says) => {
    expect((await at.refusalOf(still(change))).message).toMatch(says);
  });

  test.each([
    ["of another name", fileOf("tpm", "authorized_keys"), /belongs to no part/],
    ["with a path", fileOf("tpm", "../tpm2-00.permall"), /name/],
    ["that fills the host's disk", fileOf("tpm", "tpm2-00.permall", 2 ** 30), /more state than a TPM has/],
  ])("the state of a TPM %s", async (_what, file, says) => {
    const offer = still((made) => void made.files.push(file), { devices: tpm("2.0") });
    expect((await at.refusalOf(offer)).message).toMatch(says);
  });
});

test("the virtual TPMs of others are as they were", () => {
  const look = (uuid: string, version: string) =>
    readdirSync(at.host.outside(join(tpmFolder, uuid, version)));
  expect(look(ids.tpm, "tpm2")).toEqual(["tpm2-00.permall"]);
  expect(look(ids.oldTpm, "tpm1.2")).toEqual(["tpm-00.permall"]);
  expect(readFileSync(at.host.outside(join(tpmFolder, ids.tpm, "tpm2", "tpm2-00.permall")), "utf8")).toBe(
    "state",
  );
});
