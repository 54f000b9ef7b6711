/**
 * The devices that a VM may bring along, and which of their properties. Devices that reach out to the
 * host are not among them (vfio, vhost, usb-host, virtio-input-host, virtio-9p, ivshmem, loader…), nor
 * are properties that name something of the host (romfile, pcap, host, fd, sysfsdev, mem-path…).
 * Taken from what QEMU 7.2 prints for `-device help` and `-device DRIVER,help`. Pure.
 */
import { visiblePattern } from "../../../protocol/printable.ts";
import type { Kind } from "./draft.ts";
import { type KeyRules, patterns, type ValueRule } from "./settings.ts";

const { whole, size, flag } = patterns;

const names = (text: string): string[] => text.trim().split(/\s+/);

/** Every transport that a virtio device can have. */
function virtio(kinds: string): string[] {
  return names(kinds).flatMap((kind) =>
    ["", "-pci", "-pci-transitional", "-pci-non-transitional", "-device"].map(
      (end) => `virtio-${kind}${end}`,
    ),
  );
}

export const drivers: ReadonlySet<string> = new Set([
  ...virtio("net blk scsi serial rng balloon gpu keyboard mouse tablet iommu mem"),
  ...names(`
    virtio-vga virtserialport virtconsole
    scsi-hd scsi-cd ide-hd ide-cd ahci ich9-ahci piix3-ide piix4-ide
    lsi lsi53c810 lsi53c895a megasas megasas-gen2 mptsas1068 pvscsi am53c974 dc390 sd-card sdhci-pci
    usb-storage usb-bot
    e1000 e1000-82544gc e1000-82545em e1000e rtl8139 vmxnet3 pcnet ne2k_pci i82550 i82557b i82559er i82801
    pcie-root-port pcie-pci-bridge pci-bridge ioh3420 i82801b11-bridge x3130-upstream xio3130-downstream pxb pxb-pcie
    qemu-xhci nec-usb-xhci usb-ehci ich9-usb-ehci1 ich9-usb-ehci2 ich9-usb-uhci1 ich9-usb-uhci2 ich9-usb-uhci3
    ich9-usb-uhci4 ich9-usb-uhci5 ich9-usb-uhci6 piix3-usb-uhci piix4-usb-uhci pci-ohci
    usb-hub usb-tablet usb-kbd usb-mouse
    VGA secondary-vga isa-vga cirrus-vga vmware-svga ati-vga qxl qxl-vga bochs-display ramfb
    isa-serial pci-serial pci-serial-2x pci-serial-4x isa-debugcon isa-debug-exit
    tpm-tis tpm-crb tpm-tis-device
    intel-hda ich9-intel-hda hda-duplex hda-micro hda-output AC97 ES1370
    pvpanic pvpanic-pci i6300esb ib700 vmgenid vmcoreinfo vmmouse i8042
    pc-dimm intel-iommu
  `),
]);

/**
 * Devices that QEMU cannot migrate (`unmigratable` in their source: what -only-migratable refuses), each with what is
 * as good and can be. All others on the list can: test/live/programs/migratable-devices.test.ts asks QEMU.
 */
export const unmigratable: Readonly<Record<string, string>> = {
  nvme: "a virtio-blk-pci disk",
  "nvme-ns": "a virtio-blk-pci disk",
  "nvme-subsys": "a virtio-blk-pci disk",
  "usb-uas": "usb-storage",
  "usb-net": "a virtio-net-pci or e1000e card",
  "usb-serial": "isa-serial, pci-serial or virtserialport",
  "usb-audio": "intel-hda with hda-duplex",
  "usb-wacom-tablet": "usb-tablet",
};

/** Sound cards: without an audiodev of their own, QEMU gives them its host's sound (audio/audio.c). */
export const soundCards: ReadonlySet<string> = new Set(names("hda-duplex hda-micro hda-output AC97 ES1370"));

/** Parts of the boards themselves, which -global may set up beside the devices. */
export const boardParts: ReadonlySet<string> = new Set(
  names(`
    ICH9-LPC ICH9-SMB PIIX4_PM PIIX3 kvm-pit kvm-pit-common isa-pit kvm-apic apic ioapic kvm-ioapic
    kvm-i8259 isa-i8259 hpet mc146818rtc cfi.pflash01 isa-fdc i440FX i440FX-pcihost q35-pcihost mch
    pci-device virtio-pci virtio-device fw_cfg fw_cfg_io fw_cfg_mem vmport port92 kvmvapic kvmclock nvdimm
  `),
);

/** Properties that refer to something that another option defines. */
export const referring: Readonly<Record<string, Kind>> = {
  drive: "drive",
  chardev: "chardev",
  netdev: "netdev",
  rng: "object",
  iothread: "object",
  memdev: "object",
  audiodev: "audiodev",
  tpmdev: "tpmdev",
};

export const properties: ReadonlySet<string> = new Set(
  names(`
    addr bus acpi-index bootindex multifunction rombar romsize failover_pair_id serial id_string
    ats aer page-per-vq modern-pio-notify migrate-extra disable-modern disable-legacy iommu_platform
    virtio-pci-bus-master-bug-migration use-started use-disabled-flag queue_reset packed notify_on_empty
    indirect_desc event_idx any_layout ioeventfd vectors class
    x-disable-pcie x-disable-legacy-check x-pcie-lnksta-dllla x-pcie-extcap-init x-pcie-pm-init
    x-pcie-lnkctl-init x-pcie-flr-init x-pcie-deverr-init x-ats-page-aligned x-ignore-backend-features
    share-rw write-cache physical_block_size logical_block_size min_io_size opt_io_size discard_granularity
    backend_defaults account-invalid account-failed werror rerror secs heads cyls lsecs lheads lcyls
    bios-chs-trans scsi config-wce request-merging report-discard-granularity discard write-zeroes
    max-discard-sectors max-write-zeroes-sectors x-enable-wce-if-config-wce seg-max-adjust seg_max_adjust
    num-queues num_queues queue-size virtqueue_size max_sectors cmd_per_lun hotplug param_change
    channel scsi-id lun wwn port_wwn port_index ver vendor product rotation_rate removable dpofua
    scsi_version device_id quirk_mode_page_vendor_specific_apple quirk_mode_page_truncated
    quirk_mode_page_apple_vendor quirk_mode_sense_rom_use_dbd unit model max_unmap_size max_io_size
    nsid uuid eui64 nguid shared detached subsys nqn mdts max_ioqpairs msix_qsize aerl aer_max_queued
    cmb_size_mb use-intel-id msix msi max_sge max_cmds use_jbod sas_address hba_serial
    mac mq rss hash host_mtu speed duplex csum gso guest_csum guest_tso4 guest_tso6 guest_ecn guest_ufo
    guest_announce host_tso4 host_tso6 host_ecn host_ufo mrg_rxbuf status ctrl_vq ctrl_rx ctrl_vlan
    ctrl_rx_extra ctrl_mac_addr ctrl_guest_offloads guest_rsc_ext rsc_interval rx_queue_size tx_queue_size
    tx x-txtimer x-txburst x-mtu-bypass-backend failover autonegotiation mitigation extra_mac_registers
    migrate_tso_props init-vet disable_vnet_hdr subsys_ven x-old-msi-offsets x-disable-pcie
    max_ports emergency-write nr name max-bytes period deflate-on-oom free-page-reporting free-page-hint
    page-poison qemu-4-0-config-size guest-stats-polling-interval
    port slot chassis chassis_nr io-reserve mem-reserve bus-reserve pref32-reserve pref64-reserve
    x-native-hotplug power_controller_present disable-acs x-width x-speed shpc numa_node bus_nr bypass_iommu
    ports p2 p3 streams slots intrs superspeed-ports-first masterbus firstport bandwidth maxframes
    usb_version display head msos-desc attached
    vgamem_mb vram_size vram_size_mb vram64_size_mb ram_size ram_size_mb vgamem revision surfaces
    xres yres xmax ymax refresh_rate edid global-vmstate big-endian-framebuffer qemu-extended-regs
    max_outputs max_hostmem blob blitter xfreq mmio
    index iobase irq baudbase wakeup iosize ppi debug mixer use-timer cad old_msi_addr
    events guid ioport aw-bits intremap eim device-iotlb caching-mode dma-drain dma-translation pt snoop-control
    boot-bypass node block-size requested-size memaddr prealloc unplugged-inaccessible
    disable_s3 disable_s4 s4_val noreboot lost_tick_policy secure smm-compat smm-enabled cpu-hotplug-legacy
    acpi-pci-hotplug-with-bridge-support acpi-root-pci-hotplug memory-hotplug-support pci-hole64-size
    short_root_bus extended-tseg-mbytes x-pci-hole64-fix x-migrate-msix fallback base_year dma_enabled
    timers iommu x-keep-pci-slot-hpc x-buggy-eim
  `),
);

const visible = visiblePattern(0, 256);

/** What a property's value may be: visible and no path, neither a slash nor a way up. */
export const harmless: ValueRule = {
  test: (text) => visible.test(text) && !/[/\\]/.test(text) && text !== "." && text !== "..",
};

/** Sources of randomness that every host has. */
const randomDevice = /^\/dev\/u?random$/;

const memoryKeys: KeyRules = {
  size,
  share: flag,
  prealloc: flag,
  "prealloc-threads": whole,
  merge: flag,
  dump: flag,
  reserve: flag,
  "x-use-canonical-path-for-ramblock-id": flag,
};

/** Objects that stay within QEMU, with their keys beside id. */
export const objectKeys: Readonly<Record<string, KeyRules>> = {
  "memory-backend-ram": memoryKeys,
  "memory-backend-memfd": { ...memoryKeys, seal: flag, hugetlb: flag, hugetlbsize: size },
  iothread: {
    "poll-max-ns": whole,
    "poll-grow": whole,
    "poll-shrink": whole,
    "aio-max-batch": whole,
    "thread-pool-min": whole,
    "thread-pool-max": whole,
  },
  "rng-builtin": {},
  "rng-random": { filename: randomDevice },
  "throttle-group": Object.fromEntries(
    ["iops", "bps"].flatMap((what) =>
      ["total", "read", "write"].flatMap((way) =>
        ["", "-max", "-max-length"].map((end) => [`x-${what}-${way}${end}`, whole] as const),
      ),
    ),
  ),
};
