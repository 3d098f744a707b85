#!/bin/bash
# Boots a machine: what is process 1 of new pid, mount, UTS and IPC namespaces becomes a real systemd.
#
#   boot.sh TREE HOME CGROUP     HOME has the machine's own files (upper, docker), which outlive it; CGROUP is its place
#                                below the host's cgroup2
#
# /proc/sys (but for net) and /sys are read-only and the capabilities for clock and kernel modules are gone: nothing of the host changes.
set -euo pipefail

if [ $# -eq 3 ]; then
    # Of the cgroup namespace, whose root it is: hence first there, and then a namespace.
    echo $$ >"$3/cgroup.procs"
    exec unshare --cgroup "$0" "$1" "$2"
fi
tree=$1 home=$2

root=$home/root
mkdir -p "$root" "$home/upper" "$home/work" "$home/docker"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$home/upper,workdir=$home/work" "$root"
mount -t proc proc "$root/proc"
# What is below net is the namespace's own, and Docker writes there.
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount --rbind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
    cp --archive "/dev/$device" "$root/dev/"
done
# cAdvisor is given the kernel's messages; here it gets none.
cp --archive /dev/null "$root/dev/kmsg"
# Docker's layers over a layer are one too many for overlayfs.
mkdir -p "$root/var/lib/docker" "$root/host"
mount --bind "$home/docker" "$root/var/lib/docker"
cd "$root"
pivot_root . host
umount --lazy /host
# As systemd does where it is not in namespaces; node-exporter wants it.
mount --make-rshared /
exec env --ignore-environment container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-syslog /usr/lib/systemd/systemd --log-target=journal </dev/null
