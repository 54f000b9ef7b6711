/** Command lines that a hostile source sends: whatever would reach beyond the VM is refused, and named. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { printable } from "../../../src/protocol/printable.ts";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";

const program = "qemu-system-x86_64";

function refusalOf(words: readonly string[]): MigrateError {
  try {
    parseDefinition(words);
  } catch (thrown) {
    if (thrown instanceof MigrateError) return thrown;
    throw thrown;
  }
  throw new Error(`was taken over: ${words.join(" ").slice(0, 300)}`);
}

/** Each with what the sentence must name: the option, and the key where one key is the matter. */
const hostile: readonly (readonly [named: string, ...words: string[]])[] = [
  ["-virtfs", "-virtfs", "local,path=/,mount_tag=root,security_model=none"],
  ["-fsdev", "-fsdev", "local,id=f,path=/,security_model=none"],
  ["-readconfig", "-readconfig", "/tmp/hostile.cfg"],
  ["-writeconfig", "-writeconfig", "/etc/cron.d/x"],
  ["-plugin", "-plugin", "/tmp/hostile.so"],
  ["-trace", "-trace", "enable=*,file=/etc/passwd"],
  ["-L", "-L", "/tmp"],
  ["-chroot", "-chroot", "/tmp"],
  ["-loadvm", "-loadvm", "snap"],
  ["-snapshot", "-snapshot"],
  ["-fw_cfg", "-fw_cfg", "name=opt/x,file=/etc/shadow"],
  ["-add-fd", "-add-fd", "fd=3,set=1"],
  ["-set", "-set", "drive.d.file=/etc/shadow"],
  ["-icount", "-icount", "shift=7"],
  ["-gdb", "-gdb", "tcp::1234"],
  ["-s", "-s"],
  ["-mem-path", "-mem-path", "/etc"],
  ["-acpitable", "-acpitable", "file=/etc/shadow"],
  ["-option-rom", "-option-rom", "/etc/shadow"],
  ["-dtb", "-dtb", "/etc/shadow"],
  ["-pflash", "-pflash", "/etc/shadow"],
  ["-semihosting", "-semihosting"],
  ["-fda", "-fda", "/dev/fd0"],
  ["-unheard-of", "-unheard-of", "x"],
  ["-virtfs", "--virtfs", "local,path=/,mount_tag=root,security_model=none"],
  ["-monitor exec:", "-monitor", "exec:sh"],
  ["-monitor tcp:", "-monitor", "tcp:192.0.2.9:1"],
  ["-monitor telnet:", "-monitor", "telnet:127.0.0.1:1,server"],
  ["-monitor", "-monitor", "/dev/tty1"],
  ["-qmp tcp:", "-qmp", "tcp:0.0.0.0:4444,server=on"],
  ["-serial tcp:", "-serial", "tcp:192.0.2.9:1"],
  ["-serial udp:", "-serial", "udp:192.0.2.9:1"],
  ["-serial", "-serial", "/dev/ttyS0"],
  ["-serial", "-serial", "chardev:qmp"],
  ["-parallel", "-parallel", "/dev/parport0"],
  ["-parallel", "-parallel", "file:/etc/passwd"],
  ["-debugcon", "-debugcon", "file:/etc/passwd"],
  ["-chardev host", "-chardev", "socket,id=c,host=192.0.2.9,port=1"],
  ["-chardev port", "-chardev", "socket,id=c,port=1,server=on"],
  ["-chardev tls-creds", "-chardev", "socket,id=c,path=/x,tls-creds=t"],
  ["-chardev udp", "-chardev", "udp,id=c,host=192.0.2.9,port=1"],
  ["-chardev serial", "-chardev", "serial,id=c,path=/dev/ttyS0"],
  ["-chardev parallel", "-chardev", "parallel,id=c,path=/dev/parport0"],
  ["-chardev", "-chardev", "null,id=compat_monitor0"],
  ["-chardev", "-chardev", "null,id=../../x"],
  ["-chardev", "-chardev", `null,id=${"x".repeat(40)}`],
  ["-mon", "-mon", "chardev=compat_monitor0"],
  ["-drive file", "-drive", "file=nbd:192.0.2.9:10809,format=raw"],
  ["-drive file", "-drive", "file=fat:/etc,format=raw"],
  ["-drive file", "-drive", 'file=json:{"driver":"file",,"filename":"/etc/shadow"},format=raw'],
  ["-drive file", "-drive", "file=ssh://root@192.0.2.9/x,format=raw"],
  ["-drive file", "-drive", "file=file:nbd:192.0.2.9:1,format=raw"],
  ["-drive file", "-drive", "file=/dev/fdset/1,format=raw"],
  ["-drive file.driver", "-drive", "file.driver=nbd,file.host=192.0.2.9,format=raw"],
  ["-drive file.filename", "-drive", "file.filename=/etc/shadow,format=raw"],
  ["-drive backing", "-drive", "file=/a,format=qcow2,backing=/etc/shadow"],
  ["-drive backing.file.filename", "-drive", "file=/a,format=qcow2,backing.file.filename=/etc/shadow"],
  ["-drive data-file.filename", "-drive", "file=/a,format=qcow2,data-file.filename=/etc/shadow"],
  ["-drive format", "-drive", "file=/a,format=vvfat"],
  ["-drive format", "-drive", "file=/a,format=host_device"],
  ["-drive snapshot", "-drive", "file=/a,format=raw,snapshot=on"],
  ["-drive file", "-drive", "file=/a,file=/b,format=raw"],
  ["-drive file", "-drive", "file=/srv/..,format=raw"],
  ["-drive file", "-drive", "file=/srv/.hidden,format=raw"],
  ["-drive file", "-drive", "file=/srv/-rf,format=raw"],
  ["-drive file", "-drive", "file=/srv/vm.json,format=raw"],
  ["-drive file", "-drive", "file=/srv/,format=raw"],
  ["-drive file", "-drive", "file=/srv/a\nb,format=raw"],
  ["-drive file", "-drive", "file=/a,format=raw", "-drive", "file=/./a,format=raw"],
  ["-hdb file", "-hda", "/a", "-hdb", "/a"],
  ["-hda file", "nbd:192.0.2.9:1"],
  ["-kernel", "-kernel", "/a", "-kernel", "/b"],
  ["-initrd", "-initrd", "/a x,/etc/shadow"],
  ["-blockdev nbd", "-blockdev", "driver=nbd,node-name=n,server.host=192.0.2.9"],
  ["-blockdev host_device", "-blockdev", "driver=host_device,node-name=n,filename=/dev/sda"],
  ["-blockdev vvfat", "-blockdev", '{"driver":"vvfat","node-name":"n","dir":"/etc"}'],
  [
    "-blockdev backing",
    "-blockdev",
    '{"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"/a"},"backing":"x"}',
  ],
  [
    "-blockdev backing.driver",
    "-blockdev",
    '{"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"/a"},"backing":{"driver":"file","filename":"/etc/shadow"}}',
  ],
  [
    "-blockdev data-file",
    "-blockdev",
    '{"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"/a"},"data-file":"x"}',
  ],
  ["-blockdev file.driver", "-blockdev", "driver=raw,node-name=n,file.driver=ssh,file.path=/etc/shadow"],
  ["-blockdev file", "-blockdev", "driver=raw,node-name=n,file=elsewhere"],
  ["-blockdev", "-blockdev", "{not json"],
  ["-blockdev", "-blockdev", `${'{"a":'.repeat(2000)}1${"}".repeat(2000)}`],
  ["-device vfio-pci", "-device", "vfio-pci,host=0000:01:00.0"],
  ["-device usb-host", "-device", "usb-host,hostbus=1,hostaddr=1"],
  ["-device virtio-9p-pci", "-device", "virtio-9p-pci,fsdev=f,mount_tag=t"],
  ["-device virtio-input-host-pci", "-device", "virtio-input-host-pci,evdev=/dev/input/event0"],
  ["-device vhost-vsock-pci", "-device", "vhost-vsock-pci,guest-cid=3"],
  ["-device ivshmem-plain", "-device", "ivshmem-plain,memdev=m"],
  ["-device loader", "-device", "loader,file=/etc/shadow,addr=0x1000"],
  ["-device scsi-generic", "-device", "scsi-generic,drive=d"],
  ["-device usb-mtp", "-device", "usb-mtp,rootdir=/"],
  ["-device u2f-passthru", "-device", "u2f-passthru,hidraw=/dev/hidraw0"],
  ["-device __proto__", "-device", '{"driver":"__proto__"}'],
  ["-device constructor", "-device", "virtio-rng-pci,constructor=x"],
  ["-device romfile", "-device", "e1000,romfile=/etc/shadow"],
  ["-device romfile", "-device", '{"driver":"e1000","romfile":"shadow"}'],
  ["-device pcap", "-device", "usb-tablet,pcap=log"],
  ["-device host", "-device", "virtio-net-pci,host=x"],
  ["-device serial", "-device", "virtio-blk-pci,serial=/etc/shadow"],
  ["-device virtio-blk-pci drive", "-device", "virtio-blk-pci,drive=other"],
  ["-device virtserialport chardev", "-device", "virtserialport,chardev=compat_monitor0"],
  [
    "-device virtserialport chardev",
    ...["-chardev", "socket,id=t,path=/x", "-tpmdev", "emulator,id=tpm0,chardev=t"],
    ...["-device", "virtserialport,chardev=t"],
  ],
  ["-device virtio-net-pci netdev", "-device", "virtio-net-pci,netdev=other"],
  ["-device virtio-rng-pci rng", "-device", "virtio-rng-pci,rng=other"],
  ["-device hda-duplex audiodev", "-device", "hda-duplex,audiodev=other"],
  ["-global loader.file", "-global", "loader.file=/etc/shadow"],
  ["-global e1000.romfile", "-global", "e1000.romfile=/etc/shadow"],
  ["-global virtio-blk-pci.drive", "-global", "driver=virtio-blk-pci,property=drive,value=x"],
  ["-object memory-backend-file", "-object", "memory-backend-file,id=m,size=1G,mem-path=/etc/shadow"],
  ["-object secret", "-object", "secret,id=s,file=/etc/shadow"],
  ["-object tls-creds-x509", "-object", "tls-creds-x509,id=t,dir=/etc,endpoint=client"],
  ["-object filter-dump", "-object", "filter-dump,id=f,netdev=n,file=/etc/passwd"],
  ["-object filter-mirror", "-object", '{"qom-type":"filter-mirror","id":"f","netdev":"n"}'],
  ["-object input-linux", "-object", "input-linux,id=i,evdev=/dev/input/event0"],
  ["-object pr-manager-helper", "-object", "pr-manager-helper,id=p,path=/run/x"],
  ["-object authz-list-file", "-object", "authz-list-file,id=a,filename=/etc/shadow"],
  ["-object mem-path", "-object", "memory-backend-ram,id=m,size=1G,mem-path=/etc"],
  ["-object filename", "-object", "rng-random,id=r,filename=/dev/mem"],
  ["-object filename", "-object", "rng-random,id=r,filename=/dev/random/../mem"],
  ["-audiodev path", "-audiodev", "none,id=a,path=/etc/passwd"],
  ["-tpmdev passthrough", "-tpmdev", "passthrough,id=t,path=/dev/tpm0"],
  ["-tpmdev chardev", "-chardev", "null,id=c", "-tpmdev", "emulator,id=t,chardev=c"],
  ["-netdev exec", "-netdev", "exec,id=n"],
  ["-netdev", "-netdev", "user,id=../x"],
  ["-nic model", "-nic", "user,model=vfio-pci"],
  ["-net", "-net", "user,smb=/"],
  ["-machine firmware", "-machine", "q35,firmware=/etc/shadow"],
  ["-machine dumpdtb", "-machine", "q35,dumpdtb=/etc/passwd"],
  ["-machine kernel", "-machine", "pc,kernel=/etc/shadow"],
  ["-machine memory-backend", "-machine", "pc,memory-backend=m"],
  ["-machine pflash0", "-machine", "q35,pflash0=n"],
  ["-machine type", "-machine", "x-remote"],
  ["-machine type", "-machine", "../q35"],
  ["-machine accel", "-machine", "pc,accel=xen"],
  ["-accel qtest", "-accel", "qtest"],
  ["-cpu", "-cpu", "host,/etc/shadow"],
  ["-m size", "-m", "a lot"],
  ["-m", "-m", "999999999T"],
  ["-smp path", "-smp", "2,path=/etc"],
  ["-smbios file", "-smbios", "file=/etc/shadow"],
  ["-smbios path", "-smbios", "type=11,path=/etc/shadow"],
  ["-boot splash", "-boot", "splash=/etc/shadow"],
  ["-rtc base", "-rtc", "base=/etc/shadow"],
  ["-append", "-append", "x".repeat(4097)],
  ["-append", "-append", "console=ttyS0\nx"],
  ["-vga", "-vga", "/etc/shadow"],
  ["-usbdevice", "-usbdevice", "disk:/etc/shadow"],
  ["-name", "-name", "../../etc"],
  ["-name", "-name", "guest=.hidden"],
  ["-uuid", "-uuid", "not-one"],
  ["-cdrom", "-cdrom"],
  ["An argument", "-append", "a\0b"],
];

test.each(hostile.map(([named, ...words]) => [named, JSON.stringify(words).slice(0, 80), words] as const))(
  "%s is named where it is refused: %s",
  (named, _, words) => {
    const error = refusalOf([program, ...words]);
    expect(error.code).toBe("policy");
    expect(error.message).toStartWith(named);
    expect(error.message).toBe(printable(error.message));
    expect(error.message.length).toBeLessThan(200);
    // The peer hears it: nothing of the value is in it.
    expect(error.message).not.toContain("/etc");
  },
);

test("nothing but a QEMU that we know is started", () => {
  for (const word of ["/bin/sh", "qemu-system-x86_64.sh", "qemu-system-mips", "", "-S"]) {
    expect(refusalOf([word]).code).toBe("policy");
  }
  expect(refusalOf([]).code).toBe("policy");
});

describe("a command line beyond all measure is refused unread", () => {
  test.each([
    ["an argument of 1 MiB", [program, "-append", "x".repeat(2 ** 20)]],
    ["a long program", ["x".repeat(2 ** 20)]],
    ["many words", [program, ...Array<string>(1100).fill("-S")]],
    ["192 KiB in all", [program, ...Array.from({ length: 14 }, () => "x".repeat(15_000))]],
    ["bytes, not characters", [program, "-append", "\u{1f600}".repeat(5000)]],
  ] as const)("%s", (_, words) => {
    expect(refusalOf(words).code).toBe("limit");
  });
});
