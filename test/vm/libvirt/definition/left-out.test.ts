/** What does not travel, with a note where a person should know, and what stays as it is. */
import { describe, expect, test } from "bun:test";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { writeXml } from "../../../../src/vm/libvirt/xml/write-xml.ts";
import { type DomainParts, diskXml, domainXml, hvm } from "../../../support/libvirt/domain-xml.ts";

function accepted(xml: string) {
  const { domain, refusals, notes } = readDomain(xml);
  expect(refusals.map(({ message }) => message)).toEqual([]);
  return { domain: domain!, notes, written: writeXml(domain!.tree) };
}

const parts = (devices: string): DomainParts => ({ devices });

const leftOut: readonly (readonly [what: string, parts: DomainParts, gone: RegExp, note: RegExp | null])[] = [
  ["the emulator", parts("<emulator>/tmp/evil</emulator>"), /evil/, null],
  ["the number of a running one", { attributes: " id='7'" }, /id='7'/, null],
  ["labels", { top: "<seclabel type='dynamic' model='dac'/>" }, /seclabel/, null],
  [
    "pins of processors",
    { top: "<cputune><vcpupin vcpu='0' cpuset='3'/></cputune>" },
    /cpuset/,
    /^<vcpupin> in <cputune> is left out: .*processors/,
  ],
  [
    "real time",
    { top: "<cputune><vcpusched vcpus='0' scheduler='fifo' priority='99'/></cputune>" },
    /fifo/,
    /scheduler/,
  ],
  [
    "memory nodes",
    { top: "<numatune><memory mode='strict' nodeset='0'/></numatune>" },
    /numatune/,
    /^<numatune> is left out/,
  ],
  [
    "a partition",
    { top: "<resource><partition>/mine</partition></resource>" },
    /partition/,
    /^<resource> is left out/,
  ],
  [
    "libvirt's own partition",
    { top: "<resource><partition>/machine</partition></resource>" },
    /partition/,
    null,
  ],
  [
    "devices of blkiotune",
    { top: "<blkiotune><weight>500</weight><device><path>/dev/sda</path></device></blkiotune>" },
    /sda/,
    /device of this host/,
  ],
  ["a core dump", { top: "<on_crash>coredump-restart</on_crash>" }, /coredump/, /core dump/],
  [
    "a declared prefix",
    { attributes: " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'" },
    /xmlns/,
    null,
  ],
  [
    "the chain under a disk",
    parts(
      diskXml(
        "vda",
        "/a",
        "<backingStore type='file' index='3'><format type='raw'/><source file='/b'/></backingStore>",
      ),
    ),
    /'\/b'/,
    null,
  ],
  ["a job of a disk", parts(diskXml("vda", "/a", "<mirror type='file' file='/b'/>")), /'\/b'/, null],
  ["libvirt's aliases", parts(diskXml("vda", "/a", "<alias name='virtio-disk0'/>")), /alias/, null],
  ["an index", parts(diskXml("vda", "/a").replace("<source ", "<source index='3' ")), /index/, null],
  [
    "a tap device's name",
    parts("<interface type='bridge'><source bridge='a'/><target dev='vnet3'/></interface>"),
    /vnet3/,
    null,
  ],
  [
    "a network's port",
    parts(
      "<interface type='network'><source network='a' portid='3c0a6f1e-5b7d-4c2a-9a10-000000000001' bridge='virbr0'/></interface>",
    ),
    /portid|virbr0/,
    null,
  ],
  [
    "a group of ports",
    parts("<interface type='network'><source network='a' portgroup='b'/></interface>"),
    /portgroup/,
    /portgroup= is left out/,
  ],
  [
    "a switch's port",
    parts("<interface type='bridge'><source bridge='a'/><virtualport type='openvswitch'/></interface>"),
    /virtualport/,
    /switch/,
  ],
  [
    "a VLAN",
    parts("<interface type='bridge'><source bridge='a'/><vlan><tag id='42'/></vlan></interface>"),
    /vlan/,
    /VLAN/,
  ],
  [
    "terminals",
    parts("<serial type='pty' tty='/dev/pts/1'><source path='/dev/pts/1'/></serial>"),
    /pts/,
    null,
  ],
  [
    "logs",
    parts("<serial type='pty'><log file='/etc/a' append='on'/></serial>"),
    /etc/,
    /^<log> in <serial> is left out/,
  ],
  [
    "libvirt's own socket",
    parts(
      "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-1-a/org.a'/><target type='virtio' name='org.a' state='connected'/></channel>",
    ),
    /path|state/,
    null,
  ],
  [
    "listening everywhere",
    parts("<graphics type='vnc'><listen type='address' address='0.0.0.0'/></graphics>"),
    /0\.0\.0\.0/,
    /default address/,
  ],
  [
    "listening on loopback",
    parts("<graphics type='vnc' listen='127.0.0.1' port='-1' autoport='yes'/>"),
    /127/,
    null,
  ],
  [
    "a password",
    parts("<graphics type='vnc' passwd='geheim' passwdValidTo='2030-01-01T00:00:00'/>"),
    /geheim/,
    /no password/,
  ],
  ["ports", parts("<graphics type='spice' port='22' tlsPort='23' autoport='no'/>"), /2[23]/, /ports/],
  [
    "a socket of its own",
    parts("<graphics type='vnc' socket='/etc/a'><listen type='socket' socket='/etc/a'/></graphics>"),
    /etc/,
    /socket/,
  ],
  ["this host's sound", parts("<audio id='1' type='file' path='/etc/a'/>"), /etc/, /sound/],
  ["a dump by the watchdog", parts("<watchdog model='i6300esb' action='dump'/>"), /dump/, /core dump/],
  [
    "memory nodes of a DIMM",
    parts(
      "<memory model='dimm'><source><nodemask>1</nodemask></source><target><size>1</size></target></memory>",
    ),
    /nodemask/,
    /nodes/,
  ],
  [
    "a number that was given by libvirt",
    parts("<vsock model='virtio'><cid auto='yes' address='3'/></vsock>"),
    /address/,
    null,
  ],
  [
    "the folder of a TPM",
    parts("<tpm model='tpm-crb'><backend type='emulator'><source type='dir' path='/a'/></backend></tpm>"),
    /path/,
    /state lies/,
  ],
  [
    "a template from elsewhere",
    { os: `${hvm}<nvram template='/tmp/a'>/b</nvram>` },
    /tmp/,
    /^<nvram> template= is left out/,
  ],
];

describe("left out", () => {
  test.each([...leftOut])("%s", (_, given, gone, note) => {
    const xml = domainXml(given);
    expect(xml).toMatch(gone);
    const { notes, written } = accepted(xml);
    expect(written).not.toMatch(gone);
    if (note === null) expect(notes).toEqual([]);
    else expect(notes).toContainEqual(expect.stringMatching(note));
  });
});

const kept: readonly (readonly [what: string, parts: DomainParts, there: RegExp])[] = [
  [
    "a name that a person gave a device",
    parts("<hub type='usb'><alias name='ua-hub'/></hub>"),
    /<alias name='ua-hub'\/>/,
  ],
  [
    "listening to nobody",
    parts("<graphics type='spice'><listen type='none'/></graphics>"),
    /<listen type='none'\/>/,
  ],
  ["a socket, without its path", parts("<graphics type='vnc' socket='/run/a'/>"), /<listen type='socket'\/>/],
  [
    "backing of memory",
    {
      top: "<memoryBacking><hugepages/><locked/><nosharepages/><source type='memfd'/><access mode='shared'/><discard/></memoryBacking>",
    },
    /memfd/,
  ],
  [
    "a number that a person gave",
    parts("<vsock model='virtio'><cid auto='no' address='42'/></vsock>"),
    /address='42'/,
  ],
  [
    "limits of a disk",
    parts(diskXml("vda", "/a", "<iotune><read_iops_sec>10</read_iops_sec></iotune>")),
    /<read_iops_sec>10</,
  ],
  [
    "notes of other programs, with their prefixes",
    { attributes: " xmlns:a='http://a'", top: "<metadata><a:b c='1'>t</a:b></metadata>" },
    /<a:b xmlns:a='http:\/\/a' c='1'>t<\/a:b>/,
  ],
  [
    "a filter of a network",
    parts("<interface type='bridge'><source bridge='a'/><filterref filter='clean-traffic'/></interface>"),
    /clean-traffic/,
  ],
  ["a USB redirection of SPICE", parts("<redirdev bus='usb' type='spicevmc'/>"), /redirdev/],
  [
    "a TPM that keeps its state",
    parts("<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'/></tpm>"),
    /persistent_state='yes'/,
  ],
  [
    "the format of a disk that says none",
    parts("<disk type='file'><source file='/a'/><target dev='vda'/></disk>"),
    /<driver name='qemu' type='raw'\/>/,
  ],
  [
    "firmware that nobody writes to",
    { os: `${hvm}<loader type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>` },
    /<loader type='pflash' readonly='yes'>/,
  ],
  [
    "the firmware that was chosen",
    { os: `${hvm}<loader type='pflash' readonly='yes'>/usr/share/OVMF/OVMF_CODE.fd</loader>` },
    /OVMF_CODE/,
  ],
  [
    "an NVRAM that is said at length",
    { os: `${hvm}<nvram type='file'><source file='/a'/></nvram>` },
    /<nvram>\/a<\/nvram>/,
  ],
];

describe("kept", () => {
  test.each([...kept])("%s", (_, given, there) => {
    expect(accepted(domainXml(given)).written).toMatch(there);
  });

  test("prefixes are declared where they were, or at the part that uses them", () => {
    const inner = "<a:b><c:d xmlns:c='http://c' c:e='1'/></a:b>";
    const xml = domainXml({ top: `<metadata xmlns:a='http://a' xmlns:z='http://z'>${inner}</metadata>` });
    const { written } = accepted(xml);
    expect(written).toContain(
      "<metadata>\n    <a:b xmlns:a='http://a'>\n      <c:d xmlns:c='http://c' c:e='1'/>",
    );
    expect(accepted(written).written).toBe(written);
  });

  test("notes of other programs go without a part that has text between elements", () => {
    const xml = domainXml({ top: "<metadata xmlns:a='u'><a:b>t<a:c/></a:b><a:d>t</a:d></metadata>" });
    const { written, notes } = accepted(xml);
    expect(written).toMatch(/<a:d/);
    expect(written).not.toMatch(/<a:b/);
    expect(notes).toEqual([expect.stringMatching(/^<metadata> has text between elements/)]);
  });

  test("firmware that libvirt chose is said once: by its path", () => {
    const xml = domainXml({
      os: `${hvm}<firmware><feature enabled='yes' name='secure-boot'/></firmware><loader type='pflash' readonly='yes'>/usr/share/OVMF/OVMF_CODE.fd</loader>`,
    });
    const { domain, written } = accepted(xml.replace("<os>", "<os firmware='efi'>"));
    expect(domain.firmware.auto).toBe(false);
    expect(written).not.toMatch(/firmware=|<firmware>/);
    expect(accepted(domainXml().replace("<os>", "<os firmware='efi'>")).domain.firmware.auto).toBe(true);
  });
});
