/** Command lines of VMs as people start them: one option a line, "DIR" for the folder of their files. */

export interface TypicalVm {
  what: string;
  words: readonly string[];
}

/** "-m 64" as two words; a value may have spaces. */
function wordsOf(text: string): string[] {
  return text
    .trim()
    .split("\n")
    .flatMap((line) => {
      const [, option = "", value] = /^(\S+)(?: (.*))?$/.exec(line.trim()) ?? [];
      return value === undefined ? [option] : [option, value];
    });
}

/** Files that they expect in DIR: a.raw and b.qcow2 (disks), cd.iso, bios.bin and vars.fd (firmware). */
export const virtioPc: TypicalVm = {
  what: "a PC with virtio devices",
  words: wordsOf(`
    -name guest=web1,debug-threads=on
    -machine pc,usb=on,vmport=off
    -accel tcg,thread=single
    -cpu qemu64,+ssse3
    -m 64M,slots=2,maxmem=256M
    -smp 2,sockets=1,cores=2,threads=1
    -nodefaults
    -display none
    -vga std
    -uuid 12345678-1234-1234-1234-123456789abc
    -drive file=DIR/a.raw,format=raw,if=virtio,cache=writeback,discard=unmap,iops=1000
    -drive file=DIR/b.qcow2,format=qcow2,if=none,id=two,werror=stop
    -device virtio-scsi-pci,id=s
    -device scsi-hd,drive=two,bus=s.0,serial=two,, too
    -cdrom DIR/cd.iso
    -netdev user,id=n0,hostfwd=tcp:127.0.0.1:0-:22,net=10.0.3.0/24
    -device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:57,romfile=
    -object rng-random,id=r,filename=/dev/urandom
    -device virtio-rng-pci,rng=r
    -device virtio-balloon-pci
    -device usb-tablet
    -device virtio-serial-pci
    -chardev socket,id=agent,path=DIR/agent,server=on,wait=off
    -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0
    -chardev file,id=con,path=DIR/con.log
    -serial chardev:con
    -serial file:DIR/second.log
    -rtc base=utc,driftfix=slew
    -boot order=c,menu=on
    -no-hpet
    -monitor none
    -global PIIX4_PM.disable_s3=1
    -smbios type=1,serial=ds=nocloud;s=http://x/
    -no-reboot
  `),
};

export const nographicPc: TypicalVm = {
  what: "a PC with all that QEMU adds by itself, on a terminal",
  words: wordsOf(`
    -m 64
    -nographic
    -hda DIR/a.raw
    -drive file=DIR/b.qcow2,format=qcow2
  `),
};

export const barePc: TypicalVm = {
  what: "a PC with all that QEMU adds by itself, and a display",
  words: wordsOf(`
    -m 64
    -display none
    -vnc none
    -monitor null
    DIR/b.qcow2
  `),
};

export const q35InJson: TypicalVm = {
  what: "a q35 in JSON, as management programs write it",
  words: wordsOf(`
    -machine pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram,pflash0=code,pflash1=vars
    -accel tcg
    -m size=65536k
    -nodefaults
    -no-user-config
    -display none
    -msg timestamp=on
    -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}
    -object {"qom-type":"iothread","id":"io1"}
    -blockdev {"driver":"file","node-name":"code-file","filename":"DIR/bios.bin","auto-read-only":true,"discard":"unmap"}
    -blockdev {"driver":"raw","node-name":"code","read-only":true,"file":"code-file"}
    -blockdev {"driver":"file","node-name":"vars","filename":"DIR/vars.fd"}
    -blockdev {"driver":"file","node-name":"s2","filename":"DIR/b.qcow2","cache":{"direct":false}}
    -blockdev {"driver":"qcow2","node-name":"f2","file":"s2","backing":null,"read-only":false}
    -blockdev driver=raw,node-name=f3,file.driver=file,file.filename=DIR/a.raw,cache.direct=off
    -device {"driver":"pcie-root-port","port":16,"chassis":1,"id":"pci.1","bus":"pcie.0","addr":"0x2"}
    -device {"driver":"pcie-root-port","port":17,"chassis":2,"id":"pci.2","bus":"pcie.0","addr":"0x3"}
    -device {"driver":"qemu-xhci","p2":15,"p3":15,"id":"usb","bus":"pci.2","addr":"0x0"}
    -device {"driver":"virtio-blk-pci","iothread":"io1","bus":"pci.1","drive":"f2","id":"d0","write-cache":"on"}
    -device {"driver":"ide-hd","bus":"ide.1","drive":"f3","id":"sata0-0-1","bootindex":1}
    -device {"driver":"usb-tablet","id":"input0","bus":"usb.0","port":"1"}
    -device virtio-vga,max_outputs=1
    -netdev {"type":"socket","id":"net0","listen":"127.0.0.1:0"}
    -device {"driver":"e1000e","netdev":"net0","id":"net0","mac":"52:54:00:aa:bb:cc"}
    -chardev pty,id=charserial0
    -device {"driver":"isa-serial","chardev":"charserial0","index":0}
    -chardev socket,id=charmonitor,path=DIR/mon,server=on,wait=off
    -mon chardev=charmonitor,id=monitor,mode=control
    -audiodev {"id":"audio1","driver":"none"}
    -device {"driver":"ich9-intel-hda","id":"sound0"}
    -device {"driver":"hda-duplex","bus":"sound0.0","cad":0,"audiodev":"audio1"}
    -global ICH9-LPC.disable_s3=1
    -global driver=cfi.pflash01,property=secure,value=off
  `),
};

export const oldPc: TypicalVm = {
  what: "a PC with firmware, NUMA nodes and old devices",
  words: wordsOf(`
    -M pc,accel=tcg
    -m 64
    -nodefaults
    -vga cirrus
    -display none
    -usb
    -bios DIR/bios.bin
    -smp 2
    -usbdevice tablet
    -no-acpi
    -overcommit cpu-pm=off
    -object memory-backend-ram,id=m0,size=32M
    -object memory-backend-memfd,id=m1,size=32M,share=on
    -numa node,nodeid=0,cpus=0,memdev=m0
    -numa node,nodeid=1,cpus=1,memdev=m1
    -numa dist,src=0,dst=1,val=20
    -nic user,model=e1000,mac=52:54:00:12:34:58
    -nic socket,listen=127.0.0.1:0,model=rtl8139
    -drive if=ide,media=cdrom,index=2
    -drive file=DIR/a.raw,format=raw,if=none,id=d,readonly=on
    -device usb-storage,drive=d
    -device i6300esb
    -watchdog-action reset
    -device pvpanic
    -device vmgenid,guid=auto
    -chardev ringbuf,id=rb,size=64k
    -serial chardev:rb
    -parallel none
    -chardev stdio,id=mux,mux=on,signal=off
    -serial chardev:mux
    -mon chardev=mux
  `),
};
