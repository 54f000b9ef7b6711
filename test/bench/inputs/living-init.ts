/** The first program of a guest that works in a disk's file system, so that the disk changes as disks do. */

/** What the guest prints once its file system is unmounted. */
export const workedLine = "worked and unmounted";

/**
 * A script for busybox, for the kernel of guest-image.ts (ext4 is built into it). The first virtio disk is
 * worked in; the second, read-only, is a tar of files that the first one does not hold. Words on the kernel
 * command line say what it does:
 *
 * - `work=live mib=N`: what a machine does in its first weeks. Two thirds of N MiB are unpacked from the tar,
 *   a third is copied from one folder of the file system to another, files are written over in place,
 *   others are deleted, logs grow.
 * - `work=change mib=N`: N MiB are written, a tenth of them random bytes in place in files that are there, four
 *   tenths random bytes in new files, a quarter an archive of files of the file system, a quarter text that
 *   is nowhere else.
 *
 * Files are taken in the order of their names, so that two runs differ in the random bytes alone.
 */
export const livingInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /disk
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for attempt in 1 2 3; do
  for path in /modules/*.ko; do insmod $path 2>/dev/null; done
done
work=
mib=0
for word in $(cat /proc/cmdline); do
  case $word in work=* | mib=*) export "$word" ;; esac
done
# The inode tables are there already: nothing is to be written behind the work's back.
mount -t ext4 -o noinit_itable /dev/vda /disk || poweroff -f
mkdir -p /disk/opt/unpacked /disk/srv/copies /disk/var/log /disk/var/backups

used_kib() { set -- $(df -k /disk | tail -n 1); echo $3; }
random() { dd if=/dev/urandom bs=4k status=none "$@"; }
files() { find /disk/usr /disk/lib -xdev -type f "$@" | sort; }
# Every Nth line.
every() { awk "NR % $1 == 0"; }

# Pieces of 4 to 16 KiB at places within files that stay as long as they are.
in_place() {
  left=$1
  n=0
  files -size +64k | every 7 > /in-place
  while [ $left -gt 0 ] && [ -s /in-place ]; do
    while read path && [ $left -gt 0 ]; do
      pages=$((n % 4 + 1))
      random of="$path" seek=$((n % 13)) count=$pages conv=notrunc
      left=$((left - pages * 4))
      n=$((n + 1))
    done < /in-place
  done
}

live() {
  head -c $((mib * 683))k /dev/vdb | tar -x -f - -C /disk/opt/unpacked 2>/dev/null
  grow 100
  # In pieces, since a folder of a file system can be of any size.
  copies=$(($(used_kib) + mib * 1024 / 3))
  files -size +1k | every 3 > /copied
  while read path && [ $(used_kib) -lt $copies ]; do
    folder=/disk/srv/copies/\${path#/disk/}
    mkdir -p "\${folder%/*}" && cp -p "$path" "$folder"
  done < /copied
  sync
  in_place $((mib * 20))
  grow 100
  files -path '*/share/*' | every 29 | head -n $((mib * 2)) | while read path; do rm -f "$path"; done
  grow 100
}

grow() {
  n=0
  while [ $n -lt $1 ]; do
    n=$((n + 1))
    echo "Nov 24 08:48:$((n % 60)) guest service[$((n * 7 % 4096))]: line $n of its log, $(used_kib) KiB in use" >> /disk/var/log/syslog
    [ $((n % 10)) = 0 ] && echo "10.0.0.$((n % 250)) GET /index.html 200 $((n * 131))" >> /disk/var/log/access.log
  done
  sync
}

change() {
  in_place $((mib * 102))
  n=0
  while [ $n -lt $((mib * 4 / 10)) ]; do
    random of=/disk/srv/random-$n count=$((n % 3 * 256 + 256))
    n=$((n + n % 3 + 1))
  done
  sync
  # What is too much is cut off.
  files -size -256k | every 2 | cpio -o -H newc 2>/dev/null | head -c $((mib * 256))k > /disk/var/backups/system.cpio
  files -size -64k | every 2 | head -n 20000 | while read path; do cat "$path"; done |
    sed 's/^/'$mib' copied: /' | head -c $((mib * 256))k > /disk/var/log/copied.log
  grow 100
}

case $work in
  live) live ;;
  change) change ;;
esac
sync
umount /disk && echo "${workedLine}"
poweroff -f
`;
