/** The first and only program of the test guest, and the kernel modules that it needs. */
import { tpmFunctions } from "./tpm-guest.ts";

/** In the order of loading (Linux 6.1); one that is built into the kernel is not in its package and left out. */
export const guestModules = [
  "virtio_ring",
  "virtio",
  "virtio_pci_legacy_dev",
  "virtio_pci_modern_dev",
  "virtio_pci",
  "virtio_blk",
] as const;

/** Loaded if a word asks for what they are for. */
export const laterModules = ["failover", "net_failover", "virtio_net", "virtio_console"] as const;

/** What the guest prints once its RAM is filled, before the first tick. */
export const workDoneLine = "work done";

/**
 * A script for busybox. Words on the kernel command line say what it does besides counting:
 *
 * - `work_mib=N`: before the first tick it fills about N MiB of RAM as work does (files unpacked from
 *   a read-only disk and copied, compressed data, random bytes), in a tmpfs, which ends up in pages
 *   like those of any program.
 * - `random_mib=N`: before the first tick it fills N MiB of RAM with random bytes, in that tmpfs.
 * - `program_mib=N`: the same with N MiB of programs (busybox and kernel modules over and over), which zstd
 *   makes about half as long.
 * - `check_ticks=N`: at every Nth tick it reads what the two above have filled and prints `ram intact` or `ram damaged`.
 * - `dirty_mib=N`: from the first tick on, N MiB of RAM (in whole 8 MiB) are written over and over, as
 *   fast as the guest can, each time with other random bytes than before.
 * - `scrub_mib=N`: from the first tick on, N MiB of the last disk, from its second half on, are written over and over and
 *   synced, as fast as the guest can.
 * - `net=ADDRESS/BITS`: its first network card gets that address, and the kernel answers pings.
 * - `agent=1`: an agent answers on the channel org.qemu.guest_agent.0, sets the clock, and says so.
 * - `tick_ms=N`: how long it sleeps between two ticks; 100 where it is absent.
 * - `tpm=extend`: what tpm-guest.ts says, before the first tick and at every tenth one. `tpm=seal` leaves
 *   the PCR as it is, so that the TPM must refuse to unseal.
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
random_mib=0
program_mib=0
dirty_mib=0
scrub_mib=0
check_ticks=0
tick_ms=100
tpm=
net=
agent=
for word in $(cat /proc/cmdline); do
  case $word in
    work_mib=* | random_mib=* | program_mib=* | check_ticks=* | dirty_mib=* | scrub_mib=* | tick_ms=* | tpm=* | net=* | agent=*) export "$word" ;;
  esac
done
disks=
corpus=
for path in /sys/block/vd*; do
  [ -e $path ] || continue
  if [ $(cat $path/ro) = 1 ]; then corpus=/dev/\${path##*/}; else disks="$disks /dev/\${path##*/}"; fi
done

used_mib() { set -- $(df -m /busy | tail -n 1); echo $3; }
random_file() { dd if=/dev/urandom of=$1 bs=1M count=$2 status=none; }

# Pieces of a pattern twice as long, from another place in it on each pass.
dirty() {
  pass=0
  while :; do
    piece=0
    while [ $piece -lt $(((dirty_mib + 7) / 8)) ]; do
      dd if=/busy/pattern of=/busy/dirty bs=1M skip=$(((pass + piece) % 8)) seek=$((piece * 8)) \\
        count=8 conv=notrunc status=none
      piece=$((piece + 1))
    done
    pass=$((pass + 1))
    [ $((pass % 10)) = 0 ] && echo "dirty pass $pass"
  done
}
# On the last disk: /sys/block has its size in sectors.
scrub() {
  disk=\${disks##* }
  half=$(($(cat /sys/block/\${disk##*/}/size) / 4096))
  pass=0
  while :; do
    piece=0
    while [ $piece -lt $scrub_mib ]; do
      dd if=/busy/pattern of=$disk bs=1M skip=$(((pass + piece) % 16)) seek=$((half + piece)) count=1 \\
        conv=notrunc,fsync status=none
      piece=$((piece + 1))
    done
    pass=$((pass + 1))
    echo "scrub pass $pass"
  done
}
${tpmFunctions}
if [ $((work_mib + random_mib + program_mib + dirty_mib + scrub_mib)) -gt 0 ]; then mount -t tmpfs -o size=90% work /busy; fi

if [ $work_mib -gt 0 ]; then
  random_file /busy/random $((work_mib / 4))
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
if [ $random_mib -gt 0 ]; then random_file /busy/filling $random_mib; fi
if [ $program_mib -gt 0 ]; then
  while cat /bin/busybox /modules/*.ko; do :; done 2>/dev/null | head -c \${program_mib}m >> /busy/filling
fi
if [ $check_ticks -gt 0 ]; then sum=$(md5sum /busy/filling); fi
if [ $((dirty_mib + scrub_mib)) -gt 0 ]; then random_file /busy/pattern 16; fi
if [ -n "$tpm" ]; then tpm_seal; fi

load() { for module in $*; do [ -d /sys/module/$module ] || insmod /modules/$module.ko; done; }
if [ -n "$net" ]; then
  load failover net_failover virtio_net
  ip address add $net dev eth0
  ip link set eth0 up
fi
# What guest-sync-delimited and guest-set-time of a QEMU guest agent do; the time comes in nanoseconds.
answer() {
  case $1 in
    *guest-sync-delimited*)
      id=\${1##*:}
      printf '\\377{"return": %s}\\n' \${id%%[!0-9]*} >&8
      ;;
    # As libvirt says it.
    *guest-sync*)
      id=\${1##*:}
      printf '{"return": %s}\\n' \${id%%[!0-9]*} >&8
      ;;
    *guest-set-time*)
      time=\${1##*:}
      time=\${time%%[!0-9]*}
      was=$(date +%s)
      date -s @\${time%?????????} >/dev/null
      echo "agent set the time from $was to $(date +%s)"
      echo '{"return": {}}' >&8
      ;;
  esac
}
agent() {
  load virtio_console
  while [ ! -e /sys/class/virtio-ports/*/name ]; do read -t 0.2 nothing <&9; done
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat $port/name)" = org.qemu.guest_agent.0 ] && exec 8<>/dev/\${port##*/}
  done
  # As long as nobody is connected, reading ends at once.
  while :; do
    if read -r line <&8; then answer "$line"; else read -t 0.2 nothing <&9; fi
  done
}

# Under TCG a process more is what a tick costs: the shell waits by itself, for a pipe that nobody writes to.
mkfifo /never
exec 9<>/never
if [ -n "$agent" ]; then agent & fi
pause=$(printf "%d.%03d" $((tick_ms / 1000)) $((tick_ms % 1000)))
n=0
while :; do
  n=$((n + 1))
  echo "tick $n" > /tick
  for disk in $disks; do
    dd if=/tick of=$disk bs=512 seek=$n conv=sync,fsync,notrunc status=none
  done
  echo "tick $n"
  if [ $n = 1 ] && [ $dirty_mib -gt 0 ]; then dirty & fi
  if [ $n = 1 ] && [ $scrub_mib -gt 0 ]; then scrub & fi
  if [ -n "$tpm" ] && [ $((n % 10)) = 0 ]; then tpm_look; fi
  if [ $check_ticks -gt 0 ] && [ $((n % check_ticks)) = 0 ]; then
    if [ "$(md5sum /busy/filling)" = "$sum" ]; then echo "ram intact"; else echo "ram damaged"; fi
  fi
  read -t $pause nothing <&9
done
`;
