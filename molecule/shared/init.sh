# PID 1 of a container host: make the container look like a machine to systemd, then become it.
mount --make-rshared /
grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mountinfo | while read -r path; do
    mount -o remount,bind,rw "$path"
done
if [ -d /sys/fs/cgroup/systemd ]; then
    # cgroup v1: systemd 256 and later refuse to start unless told.
    export SYSTEMD_PROC_CMDLINE='systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'
fi
exec /lib/systemd/systemd
