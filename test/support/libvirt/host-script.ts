/**
 * The script that holds one libvirt host: it makes the host's mounts in namespaces that are new already, says so, and
 * stays. Once its standard input ends, because the test lets go of it or is dead, it kills every process that sees
 * these mounts, removes the bridges that are named in the host's file `bridges`, and ends; the mounts go with the last
 * of them (mount_namespaces(7)).
 */
import { emulatorFolder } from "./emulator-cache.ts";

/** The folders of a host, by their names below its own folder, and where its programs see them. */
export const hostMounts: Readonly<Record<string, string>> = {
  etc: "/etc/libvirt",
  run: "/run/libvirt",
  lib: "/var/lib/libvirt",
  log: "/var/log/libvirt",
  cache: "/var/cache/libvirt",
  // Where this program has the sockets of moves: by a session's id, which both hosts know.
  migrate: "/run/migrate",
  // What libvirt's vTPM needs: the CA of this host that signs certificates of endorsement keys, and swtpm's logs.
  ca: "/var/lib/swtpm-localca",
  "swtpm-log": "/var/log/swtpm",
};

/** Where a host has huge pages, if it has any. */
export const hugepagesFolder = "/run/libvirt/hugepages";

/** How many of them all hosts of the machine have together, of 2 MiB each: what is not used costs nothing. */
const hugepages = 1024;

/** What the script prints once the mounts are there. */
export const mountsReadyLine = "mounts ready";

/**
 * Takes, as $1 and on: the host's folder, its name, the mount namespace that is not its own, the emulator's path and
 * the script that takes its place there, "own-net" if /sys is to show another network namespace than before, and
 * "hugepages" if the host is to have them.
 */
export const hostScript = `set -e
base=$1 name=$2 outer=$3 emulator=$4 script=$5 net=$6 hugepages=$7
own=$(readlink /proc/$$/ns/mnt)
# In namespaces that are not new, the end of this script would be the end of everybody.
[ "$own" != "$outer" ] || { echo "no mount namespace of its own" >&2; exit 1; }
mount --make-rprivate /
hostname "$name"
if [ "$net" = own-net ]; then
  ip link set lo up
  # A sysfs shows the network devices of whoever mounted it, and hides the cgroups below it.
  mkdir "$base/cgroup"
  mount --rbind /sys/fs/cgroup "$base/cgroup"
  mount -t sysfs sysfs /sys
  mount --move "$base/cgroup" /sys/fs/cgroup
  rmdir "$base/cgroup"
fi
${Object.entries(hostMounts)
  .map(([folder, path]) => `mkdir -p ${path}; mount --bind "$base/${folder}" ${path}`)
  .join("\n")}
if [ "$hugepages" = hugepages ]; then
  # They are taken from the machine when a guest has need of them, and given back after it (hugetlbpage.rst).
  [ "$(cat /proc/sys/vm/nr_overcommit_hugepages)" -ge ${hugepages} ] || echo ${hugepages} > /proc/sys/vm/nr_overcommit_hugepages
  mkdir ${hugepagesFolder}
  mount -t hugetlbfs hugetlbfs ${hugepagesFolder}
fi
# QEMU looks for its firmware from its own folder on, in ../share and ../lib.
mkdir -p ${emulatorFolder}/bin
ln -s /usr/share /usr/lib /usr/libexec ${emulatorFolder}
: > "${emulatorFolder}/bin/\${emulator##*/}"
mount --bind "$emulator" "${emulatorFolder}/bin/\${emulator##*/}"
mount --bind "$script" "$emulator"
echo "${mountsReadyLine}"
set +e
# A signal for the whole group is not for this one.
trap '' INT HUP TERM
while read -r line; do :; done
left=yes
while [ -n "$left" ]; do
  left=
  for path in /proc/[0-9]*; do
    pid=\${path#/proc/}
    [ "$pid" = "$$" ] && continue
    [ "$(readlink "$path/ns/mnt" 2> /dev/null)" = "$own" ] || continue
    left=yes
    kill -9 "$pid" 2> /dev/null
  done
  [ -z "$left" ] || sleep 0.05
done
while read -r bridge; do ip link delete "$bridge"; done < "$base/bridges"
`;
