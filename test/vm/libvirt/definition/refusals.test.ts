/** What a domain may not bring along: each is refused by name, with a way out, and all of them at once. */
import { describe, expect, test } from "bun:test";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { type DomainParts, diskXml, domainXml, hvm } from "../../../support/libvirt/domain-xml.ts";

const on = (type: string, attributes = "", source = "") =>
  `<disk type='${type}' device='disk'${attributes}><driver name='qemu' type='raw'/>${source}<target dev='vda' bus='virtio'/></disk>`;
const line = (kind: string, type: string, source: string) =>
  `<${kind} type='${type}'>${source}<target ${kind === "channel" ? "type='virtio' name='org.a'" : "port='0'"}/></${kind}>`;
const net = (type: string, inner = "") =>
  `<interface type='${type}'><mac address='52:54:00:00:00:01'/>${inner}</interface>`;

const devices: readonly (readonly [device: string, why: RegExp])[] = [
  ["<hostdev mode='subsystem' type='pci' managed='yes'/>", /^<hostdev> is refused: it is a device/],
  ["<filesystem type='mount'><source dir='/'/><target dir='a'/></filesystem>", /^<filesystem> is refused/],
  ["<shmem name='a'><model type='ivshmem-plain'/></shmem>", /^<shmem> is refused/],
  ["<lease><lockspace>a</lockspace><key>b</key></lease>", /^<lease> is refused/],
  ["<pstore backend='acpi-erst'><path>/etc/a</path></pstore>", /^<pstore> is refused/],
  ["<evil/>", /^<evil> is refused: it is not among/],
  ["<constructor/>", /^<constructor> is refused: it is not among/],
  ["<__proto__/>", /^<__proto__> is refused: it is not among/],
  [
    on("block", "", "<source dev='/dev/sda'/>"),
    /^<disk> vda is refused: it is a block device; .* later version/,
  ],
  [
    on("network", "", "<source protocol='rbd' name='a'/>"),
    /^<disk> vda is refused: .*network; .* later version/,
  ],
  [on("volume", "", "<source pool='a' volume='b'/>"), /^<disk> vda is refused: .*pool; .* later version/],
  [on("dir", "", "<source dir='/etc'/>"), /^<disk> vda is refused: it is a directory/],
  [on("nvme", "", "<source type='pci'/>"), /^<disk> vda is refused: it is a device of this host/],
  [on("vhostuser", "", "<source type='unix' path='/a'/>"), /^<disk> vda is refused: .*vhost-user/],
  [on("vhostvdpa", "", "<source dev='/dev/a'/>"), /^<disk> vda is refused: .*vdpa/],
  [on("toString", ""), /^<disk> vda is refused: it is not among/],
  [on("file", "", ""), /^<disk> vda is refused: it has no file/],
  [on("file", "", "<source file='relative'/>"), /<source> in <disk>.* file="relative" is refused/],
  [on("file", "", "<source file='/a&#10;b'/>"), /file="\/a\?b" is refused/],
  [on("file", "", `<source file='/${"a".repeat(5000)}'/>`), /^[^…]{1,160}…" is refused/],
  [on("file", " rawio='yes'", "<source file='/a'/>"), /rawio= is refused/],
  [on("file", " sgio='unfiltered'", "<source file='/a'/>"), /sgio= is refused/],
  [diskXml("vda", "/a", "<shareable/>"), /^<disk> vda is refused: another domain may write/],
  [diskXml("vda", "/a", "<transient/>"), /^<disk> vda is refused: what it writes/],
  [diskXml("vda", "/a", "<encryption format='luks'/>"), /^<disk> vda is refused: it is encrypted/],
  [diskXml("vda", "/a", "<auth username='a'/>"), /^<disk> vda is refused: it is opened with a secret/],
  [
    diskXml("vda", "/a").replace("/><target", "><encryption/></source><target"),
    /^<disk> vda is refused: it is encrypted/,
  ],
  [
    diskXml("vda", "/a").replace("/><target", "><slices/></source><target"),
    /^<disk> vda is refused: .*part of a file/,
  ],
  [
    diskXml("vda", "/a").replace("/><target", "><reservations/></source><target"),
    /^<disk> vda is refused: its reserv/,
  ],
  [
    diskXml("vda", "/a").replace("/><target", "><dataStore/></source><target"),
    /^<disk> vda is refused: .*external data/,
  ],
  [diskXml("vda", "/a").replace("<source ", "<source fdgroup='a' "), /fdgroup= is refused/],
  [diskXml("vda", "/a").replace("'qcow2'", "'vmdk'"), /^<disk> vda is refused: its format is "vmdk"/],
  [diskXml("vda", "/a").replace("'qcow2'", "'fat'"), /^<disk> vda is refused: its format/],
  [diskXml("vda", "/a").replace("='disk'", "='floppy'"), /^<disk> vda is refused: a floppy/],
  [diskXml("vda", "/a").replace("='disk'", "='lun'"), /^<disk> vda is refused: it is a device/],
  [diskXml("../vda", "/a"), /dev="\.\.\/vda" is refused/],
  [diskXml("vda", "/a") + diskXml("vda", "/b"), /^<disk> vda is refused: another disk has the same target/],
  [diskXml("vda", "/a") + diskXml("vdb", "/a"), /^<disk> vdb is refused: another disk has the same file/],
  [
    diskXml("vda", "/a", "<source file='/etc/shadow'/>"),
    /<source> in <disk>.* is refused: it is there twice/,
  ],
  [
    net("direct", "<source dev='eth0' mode='bridge'/>"),
    /^<interface> 52:54:00:00:00:01 is refused: .*macvtap/,
  ],
  [net("hostdev"), /^<interface> .* is refused: it is a device/],
  [net("vhostuser"), /^<interface> .* is refused: .*vhost-user/],
  [net("vdpa"), /^<interface> .* is refused: .*vdpa/],
  [net("mcast"), /^<interface> .* is refused: it leads over a network/],
  [net("null"), /^<interface> .* is refused: it is not among/],
  [net("ethernet", "<script path='/tmp/evil'/>"), /^<interface> .* is refused: its script is a program/],
  [net("ethernet", "<downscript path='/tmp/evil'/>"), /^<interface> .* is refused: its script/],
  [net("user", "<portForward proto='tcp'/>"), /^<interface> .* is refused: it opens ports/],
  [net("user", "<backend type='passt'/>"), /^<interface> .* is refused: its back end/],
  [
    net("bridge", "<source bridge='a'/><backend tap='/etc/shadow'/>"),
    /^<interface> .* is refused: its back end/,
  ],
  [
    net("network", "<source network='a'/><teaming type='transient' persistent='b'/>"),
    /^<interface> .* stands in/,
  ],
  [net("network", "<source network='../a'/>"), /network="\.\.\/a" is refused/],
  [
    net("network", "<source network='a'/><model type='vfio-pci,host=01:00.0'/>"),
    /type="vfio-pci.*" is refused/,
  ],
  [net("network", "<source network='a'/><model type='vfio-pci'/>"), /type="vfio-pci" is refused/],
  [net("network", "<source network='a'/><rom file='/etc/shadow'/>"), /file="\/etc\/shadow" is refused/],
  ...["serial", "parallel", "console", "channel"].flatMap((kind): [string, RegExp][] => [
    [
      line(kind, "dev", "<source path='/dev/ttyS0'/>"),
      new RegExp(`^<${kind}>.* is refused: it leads to a device`),
    ],
    [
      line(kind, "file", "<source path='/etc/cron.d/a'/>"),
      new RegExp(`^<${kind}>.* is refused: it leads to a file`),
    ],
    [
      line(kind, "pipe", "<source path='/tmp/a'/>"),
      new RegExp(`^<${kind}>.* is refused: it leads to a pipe`),
    ],
    [
      line(kind, "tcp", "<source mode='connect' host='192.0.2.1'/>"),
      new RegExp(`^<${kind}>.* it leads over`),
    ],
    [line(kind, "udp", ""), new RegExp(`^<${kind}>.* is refused: it leads over`)],
    [
      line(kind, "unix", "<source mode='bind' path='/run/a.sock'/>"),
      new RegExp(`^<${kind}>.* leads to a socket`),
    ],
    [line(kind, "stdio", ""), new RegExp(`^<${kind}>.* is refused`)],
    [line(kind, "hasOwnProperty", ""), new RegExp(`^<${kind}>.* is refused: it is not among`)],
  ]),
  [
    line("channel", "unix", "<source mode='connect' path='/run/libvirt/qemu/channel/a'/>"),
    /^<channel> org\.a is refused/,
  ],
  [
    line("channel", "unix", "<source mode='bind' path='/run/libvirt/qemu/../../a'/>"),
    /^<channel> org\.a is refused/,
  ],
  [
    "<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>",
    /guestfwd" is refused/,
  ],
  ["<redirdev bus='usb' type='tcp'/>", /^<redirdev> is refused: it leads over/],
  ["<smartcard mode='host'/>", /^<smartcard> is refused/],
  ["<graphics type='sdl' display=':0'/>", /^<graphics> sdl is refused/],
  ["<graphics type='egl-headless'/>", /^<graphics> egl-headless is refused/],
  ["<graphics type='spice'><gl enable='yes'/></graphics>", /^<graphics> spice is refused: it needs a GPU/],
  ["<graphics type='vnc' keymap='../../etc/shadow'/>", /keymap=.* is refused/],
  [
    "<video><model type='virtio'><acceleration accel3d='yes'/></model></video>",
    /^<video> is refused: it needs a GPU/,
  ],
  ["<video><driver name='vhostuser'/><model type='virtio'/></video>", /^<video> is refused: .*vhost-user/],
  ["<input type='evdev'><source dev='/dev/input/event0'/></input>", /^<input> evdev is refused/],
  ["<input type='passthrough' bus='virtio'/>", /^<input> passthrough is refused/],
  ["<rng model='virtio'><backend model='egd' type='unix'/></rng>", /^<rng> egd is refused/],
  ["<rng model='virtio'><backend model='random'>/etc/shadow</backend></rng>", /^<rng> random is refused/],
  ["<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>", /^<rng> random is refused/],
  [
    "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
    /^<tpm> passthrough/,
  ],
  ["<tpm model='tpm-tis'><backend type='external'/></tpm>", /^<tpm> external is refused/],
  [
    "<tpm model='tpm-crb'><backend type='emulator'><encryption secret='a'/></backend></tpm>",
    /^<tpm> is refused: .*secret/,
  ],
  ["<memory model='nvdimm'><source><path>/dev/a</path></source></memory>", /^<memory> nvdimm is refused/],
  ["<memory model='virtio-pmem'/>", /^<memory> virtio-pmem is refused/],
  ["<memory model='sgx-epc'/>", /^<memory> sgx-epc is refused/],
  [
    "<memory model='dimm'><source><path>/etc/shadow</path></source><target><size>1</size></target></memory>",
    /^<path> in/,
  ],
  ["<crypto model='virtio' type='qemu'><backend model='lkcf'/></crypto>", /model="lkcf" is refused/],
  ["<panic model='isa'><address type='ccw' cssid='1'/></panic>", /type="ccw" is refused/],
  [
    diskXml("vda", "/a/b") + diskXml("vdb", "/a//./b"),
    /^<disk> vdb is refused: another disk has the same file/,
  ],
  ["<video><model type='qxl' vram='99999999'/></video>", /vram="99999999" is refused/],
  ["<memballoon model='virtio'/><memballoon model='virtio'/>", /^<memballoon> is refused: a domain has one/],
  [
    "<qemu:device xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>",
    /^<qemu:device> is refused: it speaks past/,
  ],
];

const elsewhere: readonly (readonly [what: string, parts: DomainParts, why: RegExp])[] = [
  ...["qemu:commandline", "qemu:capabilities", "qemu:override", "lxc:namespace", "x:y"].map(
    (name): [string, DomainParts, RegExp] => {
      const prefix = name.split(":")[0]!;
      const declared = `xmlns:${prefix}='http://libvirt.org/schemas/domain/qemu/1.0'`;
      return [
        name,
        { attributes: ` ${declared}`, top: `<${name}><${prefix}:arg value='-S'/></${name}>` },
        new RegExp(`^<${name}> is refused: it speaks past`),
      ];
    },
  ),
  [
    "words for QEMU without a prefix",
    { top: "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/>" },
    /^<commandline> is refused/,
  ],
  [
    "a namespace for all of it",
    { attributes: " xmlns='http://libvirt.org/schemas/domain/qemu/1.0'" },
    /^<domain> xmlns= is refused/,
  ],
  ["sealed memory", { top: "<launchSecurity type='sev'/>" }, /^<launchSecurity> is refused/],
  ["memory encryption by keys", { top: "<keywrap/>" }, /^<keywrap> is refused/],
  [
    "an unknown element",
    { top: "<bootloader>/bin/sh</bootloader>" },
    /^<bootloader> is refused: it is not among/,
  ],
  ["an unknown attribute", { attributes: " onload='x'" }, /^<domain> onload= is refused/],
  ["an unknown hypervisor", { attributes: " id='1' foo='2'" }, /^<domain> foo= is refused/],
  ["a name that is a path", { name: "../web1" }, /^<name> is refused/],
  ["a name that turns the text", { name: "web\u202e1" }, /^<name> is refused/],
  ["no name", { name: "" }, /^<name> is refused/],
  ["a UUID that is none", { uuid: "../../etc" }, /^<uuid> is refused/],
  [
    "a second UUID",
    { top: "<uuid>3c0a6f1e-5b7d-4c2a-9a10-000000000002</uuid>" },
    /^<uuid> is refused: it is there twice/,
  ],
  ["a second name", { top: "<name>web2</name>" }, /^<name> is refused: it is there twice/],
  [
    "firmware of its own",
    { os: `${hvm}<loader type='pflash' readonly='yes'>/var/lib/a.fd</loader>` },
    /^<loader> is refused/,
  ],
  [
    "firmware by a way up",
    { os: `${hvm}<loader type='rom'>/usr/share/OVMF/../../../etc/shadow</loader>` },
    /^<loader> is refused/,
  ],
  [
    "firmware that is written to",
    { os: `${hvm}<loader type='pflash' readonly='no'>/usr/share/OVMF/OVMF.fd</loader>` },
    /writes to the firmware/,
  ],
  [
    "an NVRAM over a network",
    { os: `${hvm}<nvram type='network'><source protocol='nbd'/></nvram>` },
    /^<nvram> is refused/,
  ],
  [
    "an NVRAM on a device",
    { os: `${hvm}<nvram type='block'><source dev='/dev/sda'/></nvram>` },
    /^<nvram> is refused/,
  ],
  ["a relative NVRAM", { os: `${hvm}<nvram>a</nvram>` }, /^<nvram> in <os> is refused/],
  ["a relative kernel", { os: `${hvm}<kernel>vmlinuz</kernel>` }, /^<kernel> in <os> is refused/],
  ["a device tree", { os: `${hvm}<dtb>/a</dtb>` }, /^<dtb> in <os> is refused/],
  [
    "an ACPI table",
    { os: `${hvm}<acpi><table type='slic'>/etc/shadow</table></acpi>` },
    /^<acpi> in <os> is refused/,
  ],
  ["the host's serial numbers", { os: `${hvm}<smbios mode='host'/>` }, /mode="host" is refused/],
  ["another architecture", { os: "<type arch='s390x' machine='s390'>hvm</type>" }, /arch="s390x" is refused/],
  ["no machine", { os: "<type arch='x86_64'>hvm</type>" }, /it has no machine/],
  [
    "a machine with options",
    { os: "<type arch='x86_64' machine='pc,dumpdtb=/a'>hvm</type>" },
    /machine=.* is refused/,
  ],
  ["a container", { os: "<type arch='x86_64' machine='pc'>exe</type>" }, /^<type> in <os> is refused/],
  [
    "a configuration from a file",
    { top: "<sysinfo type='fwcfg'><entry name='opt/a' file='/etc/shadow'/></sysinfo>" },
    /file= is refused/,
  ],
  [
    "a processor with options",
    { top: "<cpu mode='custom'><model>qemu64,+svm</model></cpu>" },
    /^<model> in <cpu> is refused/,
  ],
  ["text where there is none", { top: "<pm>words</pm>" }, /^<pm> is refused: it has text/],
  ["no memory", { top: "<memory>0</memory>" }, /^<memory> is refused: it is there twice/],
  [
    "too much metadata",
    { top: `<metadata><a:b xmlns:a='u'>${"x".repeat(70_000)}</a:b></metadata>` },
    /^<metadata> is refused: .*64 KiB/,
  ],
  [
    "a clock from a file",
    { top: "<clock offset='timezone' timezone='../../etc/shadow'/>" },
    /timezone=.* is refused/,
  ],
];

function refusalsOf(xml: string, drop: string[] = []): string[] {
  const { domain, refusals } = readDomain(xml, { drop });
  expect(domain === null).toBe(refusals.length > 0);
  expect(refusals.map(({ code }) => code).filter((code) => code !== "policy")).toEqual([]);
  return refusals.map(({ message }) => message);
}

describe("refused", () => {
  test("nothing of a plain domain", () => {
    expect(refusalsOf(domainXml({ devices: diskXml() }))).toEqual([]);
  });

  test.each([...devices])("%s", (device, why) => {
    expect(refusalsOf(domainXml({ devices: device }))).toContainEqual(expect.stringMatching(why));
  });

  test.each([...elsewhere])("%s", (_, parts, why) => {
    expect(refusalsOf(domainXml(parts))).toContainEqual(expect.stringMatching(why));
  });

  test("another document than a domain", () => {
    expect(refusalsOf("<network><name>a</name></network>")).toEqual([
      "<network> is refused: it is not a domain",
    ]);
    expect(refusalsOf("<!DOCTYPE domain><domain/>")).toEqual([expect.stringMatching(/document type/)]);
  });

  test("memory and processors that are no machine's", () => {
    const xml = domainXml();
    expect(refusalsOf(xml.replace(">256<", ">0<"))).toEqual([expect.stringMatching(/^<memory> is refused/)]);
    expect(refusalsOf(xml.replace("'MiB'>256<", "'EiB'>999<"))).toEqual([
      expect.stringMatching(/^<memory> is refused/),
    ]);
    expect(refusalsOf(xml.replace("<vcpu>1<", "<vcpu>0<"))).toEqual([
      expect.stringMatching(/^<vcpu> is refused/),
    ]);
    expect(refusalsOf(xml.replace("<vcpu>1</vcpu>", ""))).toEqual(["<domain> is refused: it has no <vcpu>"]);
  });

  test("everything at once, each with a way out", () => {
    const { refusals } = readDomain(
      domainXml({
        top: "<bootloader/>",
        devices: `<hostdev/><filesystem/>${on("block")}${line("serial", "tcp", "")}`,
      }),
    );
    expect(refusals.map(({ message }) => /^<[^>]+>/.exec(message)?.[0])).toEqual([
      "<bootloader>",
      "<hostdev>",
      "<filesystem>",
      "<disk>",
      "<serial>",
    ]);
    for (const { hint } of refusals) expect(hint).toMatch(/--drop|later version|[Dd]etach/);
  });

  test("the same thing once, and not more than a person reads", () => {
    expect(refusalsOf(domainXml({ devices: "<hostdev/>".repeat(500) })).length).toBe(1);
    const many = refusalsOf(
      domainXml({ devices: Array.from({ length: 900 }, (_, at) => `<d${at}/>`).join("") }),
    );
    expect(many.length).toBe(51);
    expect(many.at(-1)).toBe("850 other parts of the domain are refused as well");
  });

  test("more devices than libvirt should be asked to place, quickly", () => {
    const started = performance.now();
    expect(refusalsOf(domainXml({ devices: "<hub type='usb'/>".repeat(9_900) }))).toEqual([
      "<devices> is refused: it has more than 1024 devices",
    ]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("values are shown short and printable", () => {
    const [message = ""] = refusalsOf(domainXml({ top: `<cpu mode='\u202e\u009b${"x".repeat(500)}'/>` }));
    expect(message.length).toBeLessThan(200);
    expect(message).toStartWith('<cpu> mode="??xxx');
  });
});
