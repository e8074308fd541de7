#!/bin/sh
# Runs once inside a plain Debian file system: makes it the lab's base image.
# Usage: lab_image.sh PACKAGE...
set -eu
export DEBIAN_FRONTEND=noninteractive

# What Debian's own Docker image carries for application containers and a host does not have:
# services that may not start, archives that are thrown away.
rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/docker-clean

# A lab is thrown away, not recovered: do not wait for the disk at every unpacked file.
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/weblab-lab

# The lists stay: a host of Debian's has them too, and check mode needs them. (Emptied lists with a fresh date look up to
# date to apt's users, and every package is "not found".)
apt-get update -q
apt-get install -y -q --no-install-recommends "$@"
apt-get clean

# On cgroup v2 Docker mounts the hierarchy read-only; systemd needs its own part of it writable.
cat > /usr/local/sbin/weblab-init <<'INIT'
#!/bin/sh
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || mount -o remount,rw /sys/fs/cgroup
exec /lib/systemd/systemd
INIT
chmod 0755 /usr/local/sbin/weblab-init

# Timers that would hold apt's lock in the middle of a run, and a console that is not there.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    getty.target console-getty.service systemd-firstboot.service

# Every daemon-reload starts these. Here they have nothing to read: no fstab, no partitions, no kernel's command line. What
# makes units of init scripts stays (systemd.generator(7)).
mkdir -p /etc/systemd/system-generators
for generator in /lib/systemd/system-generators/*; do
    case $generator in
        */systemd-sysv-generator) ;;
        *) ln -s /dev/null "/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done

# Every container becomes a machine of its own.
: > /etc/machine-id
