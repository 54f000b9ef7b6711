/** The first and only program of the test guest, and the kernel modules that it needs. */

/** In the order of loading (Linux 6.1); one that is built into the kernel is not in its package and left out. */
export const guestModules = [
  "virtio_ring",
  "virtio",
  "virtio_pci_legacy_dev",
  "virtio_pci_modern_dev",
  "virtio_pci",
  "virtio_blk",
] as const;

/** What the guest prints once its RAM is filled, before the first tick. */
export const workDoneLine = "work done";

/**
 * A script for busybox. The kernel command line may hold `work_mib=N`: then it first fills about N
 * MiB of RAM as work does (files unpacked from a read-only disk and copied, compressed data, random
 * bytes), in a tmpfs, which ends up in pages like those of any program.
 *
 * Each tick is written, synced, to sector N of every writable virtio disk, then printed, so a tick
 * that was printed is on the disks, and the disks are at most one tick ahead of what was printed.
 */
export const guestInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /busy
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# Which needs which has changed between kernels: what another one must come before is tried again.
for attempt in 1 2 3; do
  for module in ${guestModules.join(" ")}; do
    [ -f /modules/$module.ko ] && [ ! -d /sys/module/$module ] && insmod /modules/$module.ko 2>/dev/null
  done
done

work_mib=0
for word in $(cat /proc/cmdline); do
  case $word in work_mib=*) work_mib=\${word#work_mib=} ;; esac
done
disks=
corpus=
for path in /sys/block/vd*; do
  [ -e $path ] || continue
  if [ $(cat $path/ro) = 1 ]; then corpus=/dev/\${path##*/}; else disks="$disks /dev/\${path##*/}"; fi
done

used_mib() { set -- $(df -m /busy | tail -n 1); echo $3; }

if [ $work_mib -gt 0 ]; then
  mount -t tmpfs -o size=90% work /busy
  dd if=/dev/urandom of=/busy/random bs=1M count=$((work_mib / 4)) status=none
  n=0
  while [ $(used_mib) -lt $work_mib ]; do
    n=$((n + 1))
    before=$(used_mib)
    echo "work $before MiB"
    mkdir /busy/$n
    if [ -n "$corpus" ] && [ $n -le 2 ]; then
      tar -x -f $corpus -C /busy/$n
      find /busy/$n -type f | sort | xargs md5sum > /busy/$n.sums
      head -c 16m $corpus | gzip -1 > /busy/$n.gz
    elif [ -n "$corpus" ]; then
      dd if=$corpus of=/busy/$n/piece bs=1M skip=$((n * 7 % 64)) count=8 status=none
    else
      cp /bin/busybox /modules/*.ko /busy/$n
    fi
    # A tmpfs that is full would keep it here for ever.
    [ $(used_mib) -gt $before ] || break
  done
  echo "${workDoneLine}"
fi

n=0
while :; do
  n=$((n + 1))
  for disk in $disks; do
    echo "tick $n" | dd of=$disk bs=512 seek=$n conv=sync,fsync,notrunc status=none
  done
  echo "tick $n"
  usleep 100000
done
`;
