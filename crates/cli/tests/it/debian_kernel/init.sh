#!/bin/sh
# The first process of a machine of user-mode Linux: the files are this machine's, read-only.
# $BOXHERD is the program, $JOB a script whose output counts.
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmp /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /run
mount -t tmpfs tmp /tmp
mount -t ext4 /dev/ubda /var/tmp
mount -t cgroup2 groups /sys/fs/cgroup
for module in fs/overlayfs/overlay drivers/block/loop; do
    insmod /usr/lib/uml/modules/$(uname -r)/kernel/$module.ko
done
ip link set lo up
echo BOOTED
sh "$JOB"
echo DONE
sync
echo o > /proc/sysrq-trigger
# The first process must not end before the machine is off.
sleep 60
