#!/usr/bin/env bash
# Boots a systemd of its own, in namespaces, and has it mount an image: by the automount of
# a line of fstab, and by ext2fuse@.service. It knows no unit but these, so that it starts
# nothing else, and the directories that it could write to are not the host's.
# scripts/package/test.sh runs it where the package is unpacked.
#
#   scripts/package/systemd.sh IMAGE MOUNTPOINT
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
die() { printf 'package: systemd: %s\n' "$*" >&2; exit 1; }

boot() { # as process 1 of the namespaces
	local dir
	for dir in /run /tmp /root /home /etc/systemd /var/lib /var/log; do
		mount -t tmpfs -o mode=755 none "$dir"
	done
	mount -t proc proc /proc
	if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
		mount -t cgroup2 none /sys/fs/cgroup
	else
		mount -t tmpfs none /sys/fs/cgroup
		mkdir /sys/fs/cgroup/{systemd,unified}
		mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
		mount -t cgroup2 none /sys/fs/cgroup/unified
	fi
	for dir in /proc/sys /sys; do
		mount --bind "$dir" "$dir"
		mount -o remount,bind,ro "$dir"
	done
	mount --bind "$work/fstab" /etc/fstab
	mkdir /run/units
	# Its requirements are there, and empty.
	for dir in sysinit basic shutdown local-fs local-fs-pre umount; do
		printf '[Unit]\nDefaultDependencies=no\n' >"/run/units/$dir.target"
	done
	cp /usr/lib/systemd/system/ext2fuse@.service /run/units/
	cat >/run/units/look.service <<-END
		[Unit]
		DefaultDependencies=no
		SuccessAction=exit-force
		FailureAction=exit-force
		[Service]
		Type=oneshot
		ExecStart=$work/systemd.sh look '$work' '$img' '$mnt'
		StandardOutput=file:$work/said
		StandardError=file:$work/said
	END
	export container=other SYSTEMD_UNIT_PATH=/run/units:/run/systemd/generator
	exec /usr/lib/systemd/systemd --system --unit=look.service --log-target=null
}

type_of() { findmnt -n -o FSTYPE "$1" | tail -n 1; }
checked() { flock -w 10 "$img" e2fsck -f -n "$img" >"$work/fsck" 2>&1 || { cat "$work/fsck"; die "$1: the image is not clean"; }; }

look() { # as a service
	local unit instance
	unit=$(systemd-escape --path "$mnt")
	systemctl start "$unit.automount"
	[ "$(type_of "$mnt")" = autofs ] || die "no automount on $mnt"
	cp /etc/passwd "$mnt/automount" || die "$(systemctl status "$unit.mount")"
	[ "$(type_of "$mnt")" = fuse.ext2fuse ] || die "the automount has mounted $(type_of "$mnt")"
	systemctl stop "$unit.mount"
	[ "$(type_of "$mnt")" = autofs ] || die "still mounted: $(type_of "$mnt")"
	checked 'an automount'
	[ -e "$mnt/automount" ] || die 'no second automount'
	systemctl stop "$unit.automount" "$unit.mount"
	[ -z "$(type_of "$mnt")" ] || die 'the automount stays'
	checked 'the second automount'

	instance=$(systemd-escape --path --template=ext2fuse@.service "$img")
	systemctl start "$instance" || die "$(systemctl status "$instance")"
	cp /etc/passwd "/run/ext2fuse/$(systemd-escape --path "$img")/service"
	systemctl stop "$instance"
	[ "$(systemctl show -P Result "$instance")" = success ] || die "$(systemctl status "$instance")"
	checked ext2fuse@.service
}

case ${1:-} in
boot | look)
	work=$2 img=$3 mnt=$4
	"$1"
	;;
*)
	img=$1 mnt=$2
	work=$(mktemp -d /var/tmp/ext2fuse-systemd.XXXXXX)
	groups=() # the tops of its cgroups
	for dir in /sys/fs/cgroup /sys/fs/cgroup/{systemd,unified}; do
		[ ! -e "$dir/cgroup.procs" ] || groups+=("$dir/ext2fuse-systemd.$$")
	done
	trap 'rm -rf "$work"; find "${groups[@]}" -depth -type d -exec rmdir {} \; 2>/dev/null || true' EXIT
	mkdir "${groups[@]}"
	cp "$0" "$work/systemd.sh"
	printf '%s %s ext2fuse noauto,x-systemd.automount,x-systemd.mount-timeout=20 0 0\n' "$img" "$mnt" >"$work/fstab"
	(
		for dir in "${groups[@]}"; do echo "$BASHPID" >"$dir/cgroup.procs"; done
		exec timeout -k 5 60 unshare --fork --pid --kill-child --mount --propagation slave --uts --ipc --cgroup \
			"$work/systemd.sh" boot "$work" "$img" "$mnt" </dev/null >"$work/boot" 2>&1
	) || die "$(cat "$work/said" "$work/boot" 2>&1)"
	;;
esac
