/**
 * What is refused of a command line, whatever the VM is: each sentence, with its way out, and the words that bring it
 * about. Words that begin with "@" are about the rest: another program, no name, no UUID.
 */

const keys = [...Array(129).keys()].map((n) => `k${n}`);

/** The sentence as `explain` prints it, and the words. */
export type ArgvRefusal = readonly [says: string, words: readonly string[]];

export const argvRefusals: readonly ArgvRefusal[] = [
  ["-chardev dbus is refused: it is not among what a VM may bring along", ["-chardev", "dbus,id=c,name=n"]],
  [
    "-chardev udp is refused: it leads over a network that may not be the destination's",
    ["-chardev", "udp,id=c,host=192.0.2.1,port=1"],
  ],
  [
    "-chardev host is refused: it leads over a network that may not be the destination's",
    ["-chardev", "socket,id=c,host=192.0.2.1,port=1"],
  ],
  ["-chardev is refused: QEMU keeps ids that begin so for itself", ["-chardev", "null,id=compat_monitor0"]],
  ["-serial is refused: its character device has no proper name", ["-serial", "chardev:1"]],
  ["-serial tcp: is refused: it leads to a device or over a network", ["-serial", "tcp:192.0.2.1:1"]],
  ["-parallel is refused: a parallel port can only be without anything on it", ["-parallel", "stdio"]],
  [
    "-monitor tcp: is refused: it leads to a device, a program or over a network",
    ["-monitor", "tcp:192.0.2.1:1"],
  ],
  [
    "-tpmdev passthrough is refused: only an emulated TPM (swtpm) can be moved",
    ["-tpmdev", "passthrough,id=t,path=/dev/tpm0"],
  ],
  [
    "-tpmdev chardev is refused: it is not a plain socket with a path",
    ["-chardev", "null,id=c", "-tpmdev", "emulator,id=t,chardev=c"],
  ],
  [
    "qemu-vanilla-system-x86_64 is refused: it is not a QEMU whose VMs can be moved",
    ["@/usr/bin/qemu-vanilla-system-x86_64"],
  ],
  ["-no-such-option is refused: it is not among what a VM may bring along", ["-no-such-option"]],
  ["-m is refused: its value is missing", ["-m"]],
  [
    "-device vfio-pci is refused: it is not among the devices that a VM may bring along",
    ["-device", "vfio-pci,host=0000:01:00.0"],
  ],
  [
    "-global loader.file is refused: it is not among the devices that a VM may bring along",
    ["-global", "loader.file=x"],
  ],
  [
    "-global e1000.romfile is refused: it is not among what a VM may bring along",
    ["-global", "e1000.romfile=x"],
  ],
  [
    "-object secret is refused: a secret does not leave its host. Start the VM without it, and without what it opens",
    ["-object", "secret,id=s,data=x"],
  ],
  [
    "libvirt runs this VM, and what libvirt runs is not moved behind its back. Name the domain instead, and libvirt moves it: migrate send libvirt:NAME (the destination serves with --libvirt).",
    ["-object", "secret,id=masterKey0,format=raw,file=/var/lib/libvirt/qemu/domain-1-web1/master-key.aes"],
  ],
  [
    "-object tls-creds-x509 is refused: it is not among the objects that a VM may bring along",
    ["-object", "tls-creds-x509,id=t,dir=/etc,endpoint=client"],
  ],
  ["-drive node-name is refused: it has no file", ["-drive", "node-name=n,if=ide,media=cdrom"]],
  ["-drive file is refused: it is no file but nbd:", ["-drive", "file=nbd:192.0.2.1:10809,format=raw"]],
  [
    "-drive file is refused: it is an open file of the source's process",
    ["-drive", "file=/dev/fdset/1,format=raw"],
  ],
  [
    "-drive snapshot is refused: its value is not one that a VM may bring along",
    ["-drive", "file=/vm/a.raw,format=raw,snapshot=on"],
  ],
  [
    "-blockdev vmdk is refused: only raw and qcow2 in plain files can be moved",
    ["-blockdev", "driver=vmdk,node-name=n,file=f"],
  ],
  [
    "-blockdev filename is refused: it is an open file of the source's process",
    ["-blockdev", "driver=file,node-name=n,filename=/dev/fdset/1"],
  ],
  [
    "-blockdev file.driver ssh is refused: only plain files can be moved",
    ["-blockdev", "driver=raw,node-name=n,file.driver=ssh,file.path=/x"],
  ],
  [
    '-blockdev file is refused: there is no node "elsewhere"',
    ["-blockdev", "driver=raw,node-name=n,file=elsewhere"],
  ],
  [
    "-blockdev backing is refused: its value is not one that a VM may bring along",
    [
      "-blockdev",
      '{"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"/a"},"backing":"x"}',
    ],
  ],
  ["-kernel is refused: its value is no path", ["-kernel", "a\tb"]],
  ["-initrd is refused: it names more than one file", ["-initrd", "/a module,/b"]],
  ["-uuid is refused: it is given twice", ["-uuid", "12345678-1234-1234-1234-123456789abc"]],
  [
    '-drive is refused: "d" is there twice',
    ["-drive", "file=/a,format=raw,id=d", "-drive", "file=/b,format=raw,id=d"],
  ],
  [
    '-device virtio-blk-pci drive is refused: there is no drive "none"',
    ["-device", "virtio-blk-pci,drive=none"],
  ],
  [
    '-device virtio-blk-pci drive is refused: the drive "d" is in use already',
    [
      "-drive",
      "file=/a,format=raw,if=none,id=d",
      "-device",
      "virtio-blk-pci,drive=d",
      "-device",
      "virtio-blk-pci,drive=d",
    ],
  ],
  [
    "-drive file is refused: it names a file that another option names as well",
    ["-drive", "file=/a,format=raw", "-drive", "file=/a,format=raw"],
  ],
  [
    "-drive file is refused: the VM has more than 64 files",
    [...Array(65).keys()].flatMap((n) => ["-drive", `file=/d${n},format=raw,if=none,id=d${n}`]),
  ],
  ['-drive file is refused: a file\'s name must not be "." or ".."', ["-drive", "file=/a/..,format=raw"]],
  ["-accel xen is refused: only kvm and tcg can be moved", ["-accel", "xen"]],
  ["-cpu is refused: its value is not one that a VM may bring along", ["-cpu", "a/b"]],
  [
    "-cpu migratable=no is refused: what it gives the guest of its host's processor cannot be moved. Start the VM without it.",
    ["-cpu", "host,migratable=no"],
  ],
  [
    "-cpu invtsc is refused: it promises the guest a clock rate that another host does not have. Start the VM without it, or with tsc-frequency= beside it.",
    ["-cpu", "qemu64,+invtsc"],
  ],
  ["-m is refused: no host has that much memory", ["-m", "99999999T"]],
  ["-name is refused: it is given twice", ["-name", "a", "@name"]],
  [
    '-machine type is refused: "isapc" is not among the boards that can be moved; pc, q35 and microvm are',
    ["-machine", "isapc"],
  ],
  ["-machine accel is refused: only kvm and tcg can be moved", ["-machine", "pc,accel=hvf"]],
  ["-netdev exec is refused: it is not among what a VM may bring along", ["-netdev", "exec,id=n"]],
  [
    "-netdev queues is refused: its card has more than one pair of queues, and has one at the destination. Start the VM with queues=1, and without mq=on.",
    ["-netdev", "tap,id=n,queues=2"],
  ],
  [
    "-nic model=usb-net is refused: QEMU cannot migrate such a device. Start the VM with a virtio-net-pci or e1000e card instead.",
    ["-nic", "user,model=usb-net"],
  ],
  ["-nic model is refused: its value is not one that a VM may bring along", ["-nic", "user,model=vfio-pci"]],
  [
    "-net is refused: it is the old form of -netdev and -nic. Start the VM with -nic or -netdev instead.",
    ["-net", "nic"],
  ],
  ['-name is refused: a VM\'s name must not contain "/"', ["-name", "a/b", "@noname"]],
  ["-uuid is refused: it is not a UUID", ["-uuid", "1", "@nouuid"]],
  ["-rtc is refused: it has more than 128 keys", ["-rtc", keys.map((key) => `${key}=1`).join(",")]],
  ["-blockdev is refused: it is not JSON", ["-blockdev", "{not json"]],
  [
    "-blockdev is refused: its JSON is nested too deeply",
    ["-blockdev", `${'{"a":'.repeat(9)}1${"}".repeat(9)}`],
  ],
  [
    "-blockdev node-name is refused: it is neither text nor a whole number",
    ["-blockdev", '{"driver":"raw","node-name":[1]}'],
  ],
  [
    "-blockdev is refused: it has more than 128 keys",
    ["-blockdev", JSON.stringify(Object.fromEntries(keys.map((key) => [key, 1])))],
  ],
  ["-device x is refused: it is neither text nor a whole number", ["-device", '{"driver":"e1000","x":1.5}']],
  ["-blockdev driver is refused: its value is not one that a VM may bring along", ["-blockdev", "[]"]],
  ["-usbdevice is refused: its value is not one that a VM may bring along", ["-usbdevice", "braille"]],
  ["-drive file is refused: it is given twice", ["-drive", "file=/a,format=raw,file=/b"]],
  ["-netdev is refused: it has no id", ["-netdev", "user"]],
  ["-boot splash is refused: it names a file", ["-boot", "splash=/x"]],
  ["-smp cpus is refused: its value is not one that a VM may bring along", ["-smp", "many"]],
  ["The VM's command line has more than 1024 arguments", ["-msg", ...Array<string>(1100).fill("x")]],
  ["The VM's command line has an argument of more than 16384 bytes", ["-append", "x".repeat(16 * 1024 + 1)]],
  [
    "The VM's command line has more than 196608 bytes",
    Array(13)
      .fill(["-append", "x".repeat(16 * 1024 - 10)])
      .flat(),
  ],
  ["-virtfs is refused: it gives the VM a folder of its host", ["-virtfs", "x"]],
  ["-fsdev is refused: it gives the VM a folder of its host", ["-fsdev", "x"]],
  [
    "-fda is refused: a floppy disk is not moved. Start the VM without it: a CD (-cdrom) brings files along as well",
    ["-fda", "x"],
  ],
  [
    "-fdb is refused: a floppy disk is not moved. Start the VM without it: a CD (-cdrom) brings files along as well",
    ["-fdb", "x"],
  ],
  [
    "-drive if=floppy is refused: a floppy disk is not moved. Start the VM without it: a CD (-cdrom) brings files along as well",
    ["-drive", "file=/a,format=raw,if=floppy"],
  ],
  ["-blockdev is refused: it has no node-name", ["-blockdev", "driver=file,filename=/a"]],
  [
    "-id is refused: QEMU itself does not know it, Proxmox VE's does. Shut the VM down (qm shutdown), and send its disks as files: --disk",
    ["-id", "100"],
  ],
  ["-sd is refused: an SD card cannot be moved", ["-sd", "x"]],
  ["-mtdblock is refused: flash memory is moved as a -drive with if=pflash alone", ["-mtdblock", "x"]],
  [
    "-pflash is refused: its format is not said; write it as -drive if=pflash,format=raw,file=…",
    ["-pflash", "x"],
  ],
  [
    "-readconfig is refused: it names a file with more options; write them on the command line",
    ["-readconfig", "x"],
  ],
  ["-writeconfig is refused: it names a file of the host", ["-writeconfig", "x"]],
  ["-plugin is refused: it loads a program's code", ["-plugin", "x"]],
  ["-trace is refused: it names a file of the host", ["-trace", "x"]],
  ["-L is refused: it gives the VM a folder of its host", ["-L", "x"]],
  ["-chroot is refused: it changes the process or the user that QEMU runs as", ["-chroot", "x"]],
  ["-run-with is refused: it changes the process or the user that QEMU runs as", ["-run-with", "x"]],
  ["-user is refused: it changes the process or the user that QEMU runs as", ["-user", "x"]],
  ["-loadvm is refused: it starts from a snapshot within a disk", ["-loadvm", "x"]],
  ["-fw_cfg is refused: what it hands to the firmware may be a file of the host", ["-fw_cfg", "x"]],
  ["-add-fd is refused: it is an open file of the source's process", ["-add-fd", "x"]],
  ["-set is refused: it changes what other options have said; change them instead", ["-set", "x"]],
  ["-icount is refused: the clock of such a VM cannot be moved", ["-icount", "x"]],
  ["-gdb is refused: a VM that is being debugged cannot be moved", ["-gdb", "x"]],
  ["-mem-path is refused: its memory is a file of the host", ["-mem-path", "x"]],
  ["-acpitable is refused: it names a file of the host", ["-acpitable", "x"]],
  ["-option-rom is refused: it names a file of the host", ["-option-rom", "x"]],
  ["-dtb is refused: it names a file of the host", ["-dtb", "x"]],
  ["-dumpdtb is refused: it names a file of the host", ["-dumpdtb", "x"]],
  ["-shim is refused: it names a file of the host", ["-shim", "x"]],
  ["-debugcon is refused: write it as -device isa-debugcon", ["-debugcon", "x"]],
  ["-qtest is refused: a VM that is being debugged cannot be moved", ["-qtest", "x"]],
  ["-qtest-log is refused: a VM that is being debugged cannot be moved", ["-qtest-log", "x"]],
  ["-cpr-exec is refused: it changes the process or the user that QEMU runs as", ["-cpr-exec", "x"]],
  ["-snapshot is refused: what the guest has written is in a temporary file", ["-snapshot"]],
  ["-s is refused: a VM that is being debugged cannot be moved", ["-s"]],
  ["-singlestep is refused: a VM that is being debugged cannot be moved", ["-singlestep"]],
  ["-one-insn-per-tb is refused: a VM that is being debugged cannot be moved", ["-one-insn-per-tb"]],
  ["-semihosting is refused: it opens the host's files to the guest", ["-semihosting"]],
  ["-win2k-hack is refused: newer versions of QEMU do not have it", ["-win2k-hack"]],
  [
    "-device nvme is refused: QEMU cannot migrate such a device. Start the VM with a virtio-blk-pci disk instead.",
    ["-device", "nvme"],
  ],
  [
    "-device nvme-ns is refused: QEMU cannot migrate such a device. Start the VM with a virtio-blk-pci disk instead.",
    ["-device", "nvme-ns"],
  ],
  [
    "-device nvme-subsys is refused: QEMU cannot migrate such a device. Start the VM with a virtio-blk-pci disk instead.",
    ["-device", "nvme-subsys"],
  ],
  [
    "-device usb-uas is refused: QEMU cannot migrate such a device. Start the VM with usb-storage instead.",
    ["-device", "usb-uas"],
  ],
  [
    "-device usb-net is refused: QEMU cannot migrate such a device. Start the VM with a virtio-net-pci or e1000e card instead.",
    ["-device", "usb-net"],
  ],
  [
    "-device usb-serial is refused: QEMU cannot migrate such a device. Start the VM with isa-serial, pci-serial or virtserialport instead.",
    ["-device", "usb-serial"],
  ],
  [
    "-device usb-audio is refused: QEMU cannot migrate such a device. Start the VM with intel-hda with hda-duplex instead.",
    ["-device", "usb-audio"],
  ],
  [
    "-device usb-wacom-tablet is refused: QEMU cannot migrate such a device. Start the VM with usb-tablet instead.",
    ["-device", "usb-wacom-tablet"],
  ],
  [
    "The VM has more devices and options than can be told of",
    Array<string[]>(100)
      .fill(["-smbios", `type=11${",value=x".repeat(120)}`])
      .flat(),
  ],
];

/** The whole command line of a row, with a name and a UUID where the row does not say otherwise. */
export function argvOf(words: readonly string[]): string[] {
  const program = words.find((word) => word.startsWith("@/"))?.slice(1) ?? "qemu-system-x86_64";
  return [
    program,
    ...(words.includes("@noname") ? [] : ["-name", "web1"]),
    ...(words.includes("@nouuid") ? [] : ["-uuid", "12345678-1234-1234-1234-123456789abc"]),
    ...words.filter((word) => !word.startsWith("@")),
  ];
}
