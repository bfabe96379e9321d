#!/usr/bin/env bash
# Unpacks the Debian package over /usr in a mount table of its own, and mounts as people
# do: mount(8) with either type, fstab as root and as a plain user, findmnt, df, umount;
# has systemd look at what it would make of the fstab line and of the unit; types what the
# unit would run. Nothing of it reaches the host.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ "$(id -u)" -ne 0 ]; then
	echo 'package: needs root, for a mount table of its own; not tested'
	exit 0
fi
die() { printf 'package: %s\n' "$*" >&2; exit 1; }
table=$(readlink /proc/self/ns/mnt)
if [ "${1:-}" != inside ]; then
	make -s deb >/dev/null
	exec unshare --mount --propagation slave "$0" inside "$table"
fi
[[ ${2:-} = mnt:* && $2 != "$table" ]] || die "this mount table is the host's; call $0 without arguments"
# Other tests' mounts: the copy of the table would keep them in use.
awk -v here="$(stat -c %m .)/" '
	($2 ~ "^(/var)?/tmp/" || ENVIRON["TMPDIR"] ~ "^/." && index($2, ENVIRON["TMPDIR"] "/") == 1) && index(here, $2 "/") != 1 && $3 != "autofs" {print $2}
' /proc/self/mounts | tac | xargs -r umount -i -l 2>/dev/null || true

expect() { # what, got, wanted
	[ "$2" = "$3" ] || die "$1: got '$2', want '$3'"
}

# Not under /tmp: a plain user must get there, too.
work=$(mktemp -d /var/tmp/ext2fuse-package.XXXXXX)
mnt=$work/mnt img=$work/disk.img
clean_up() {
	umount -i -l "$mnt" 2>/dev/null || true
	umount -l /etc/fstab /usr "$work/layer" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
chmod 755 "$work"
mkdir "$work/layer" "$mnt"
mount -t tmpfs layer "$work/layer"
mkdir "$work/layer/upper" "$work/layer/work"
mount -t overlay usr -o "lowerdir=/usr,upperdir=$work/layer/upper,workdir=$work/layer/work" /usr
dpkg-deb -x dist/ext2fuse_*.deb /
mke2fs -q -t ext2 "$img" 16M
checked() { e2fsck -f -n "$img" >"$work/fsck" 2>&1 || { cat "$work/fsck"; die "$1: the image is not clean"; }; }

# mount(8) by either type; umount(8) by mount point and by image, each done when it returns.
for type in ext2fuse fuse.ext2fuse; do
	for target in "$mnt" "$img"; do
		mount -t "$type" -o noatime "$img" "$mnt"
		expect findmnt "$(findmnt -n -o SOURCE,FSTYPE "$mnt" | tr -s ' ')" "$img fuse.ext2fuse"
		expect 'df -T' "$(df -T "$mnt" | awk 'NR == 2 {print $1, $2}')" "$img fuse.ext2fuse"
		cp /etc/passwd "$mnt/$type"
		umount "$target"
		checked "umount $target"
	done
done
mount -f -t ext2fuse "$img" "$mnt" # fake
mountpoint -q "$mnt" && die 'mount -f mounted'

# umount -l leaves who is inside alone; a mount in use is refused.
mount -t ext2fuse "$img" "$mnt"
exec 7<"$mnt"
umount "$mnt" 2>"$work/busy" && die 'a mount in use was unmounted'
grep -q "in use" "$work/busy" || die "busy: $(cat "$work/busy")"
umount -l "$mnt"
exec 7<&-
flock "$img" true
checked 'umount -l'

# umount.fuse leaves other people's file systems to umount(8).
mke2fs -q -t ext2 "$work/other.img" 4M
fuse2fs "$work/other.img" "$mnt"
umount "$mnt"
mountpoint -q "$mnt" && die 'fuse2fs is still mounted'

# fstab, as root and as a plain user, who owns the image and the mount point.
options=noauto,user,nofail,exec
printf '%s %s ext2fuse %s 0 0\n' "$img" "$mnt" "$options,x-systemd.automount" >"$work/fstab"
mount --bind "$work/fstab" /etc/fstab
mount "$mnt"
umount "$mnt"
checked 'umount of an fstab line'
chown 65534:65534 "$img" "$mnt"
as_user() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
as_user mount "$mnt"
findmnt -n -o OPTIONS "$mnt" | grep -q 'user_id=65534' || die 'fstab: not mounted by the user'
as_user umount "$mnt"
checked "a user's umount of an fstab line"

# What systemd makes of it.
generator=/usr/lib/systemd/system-generators/systemd-fstab-generator
if command -v systemd-analyze >/dev/null && [ -x "$generator" ]; then
	mkdir "$work/units"
	SYSTEMD_FSTAB=$work/fstab "$generator" "$work/units" "$work/units" "$work/units"
	unit=$(systemd-escape --path "$mnt")
	for u in "$work/units/$unit.mount" "$work/units/$unit.automount" /usr/lib/systemd/system/ext2fuse@.service; do
		[ -e "$u" ] || die "no unit $u"
		instance=$u
		if [[ $u = *@.service ]]; then
			instance=$work/units/ext2fuse@$(systemd-escape --path "$img").service
			cp "$u" "$instance"
		fi
		said=$(systemd-analyze verify --man=no "$instance" 2>&1) || die "systemd-analyze verify: $said"
		# It also complains of units of this machine's own.
		if grep -q "ext2fuse\|$unit" <<<"$said"; then die "systemd-analyze verify: $said"; fi
	done
	grep -q '^Type=ext2fuse$' "$work/units/$unit.mount" || die 'the mount unit has another type'

	# What the unit runs, with the instance filled in as systemd does it: word by word.
	instance=$(systemd-escape --path "$img")
	unit=/usr/lib/systemd/system/ext2fuse@.service
	options=$(sed -n 's/^Environment=OPTIONS=//p' "$unit")
	runs() { # ExecStart or ExecStop
		local words
		read -r -a words < <(sed -n "s/^$1=//p" "$unit")
		[ ${#words[@]} -gt 2 ] || die "$unit has no $1"
		words=("${words[@]//%f/"$img"}")
		words=("${words[@]//%t/"$work/run"}")
		words=("${words[@]//%i/"$instance"}")
		# shellcheck disable=SC2016
		words=("${words[@]//'${OPTIONS}'/"$options"}")
		"${words[@]}" || die "$1: ${words[*]} failed"
	}
	mnt=$work/run/$(sed -n 's/^RuntimeDirectory=//p' "$unit")
	mnt=${mnt//%i/"$instance"}
	mkdir -p "$mnt"
	runs ExecStart
	expect 'the unit' "$(findmnt -n -r -o FSTYPE --mountpoint "$mnt")" fuse.ext2fuse
	cp /etc/passwd "$mnt/service"
	runs ExecStop
	mountpoint -q "$mnt" && die 'ExecStop: still mounted'
	checked 'ExecStop'
	debugfs -R 'cat service' "$img" 2>/dev/null | cmp -s - /etc/passwd || die 'ExecStop: the file is not in the image'
else
	echo 'package: no systemd here; its units were not verified'
fi

# Versions sort as they came to be.
last=0~
for tag in 0123abc v0.9 v1.0-rc1 v1.0-rc1-3-g0123abc v1.0-rc2 v1.0-rc10 v1.0 v1.0-7-g0123abc-dirty v1.1-beta1 v1.1; do
	# shellcheck disable=SC2016
	version=$(make -s --eval='show: ; @echo $(DEBVERSION)' show VERSION="$tag")
	dpkg --compare-versions "$last" lt "$version" || die "version $version of $tag does not sort behind $last"
	last=$version
done

# What is installed can be removed.
make -s install DESTDIR="$work/root" PREFIX=/opt/x >/dev/null
[ -x "$work/root/opt/x/bin/ext2fuse" ] || die 'make install: no program'
make -s uninstall DESTDIR="$work/root" PREFIX=/opt/x
expect 'make uninstall' "$(find "$work/root" ! -type d)" ''
echo 'package: installed, mounted by mount(8) and fstab, unmounted, removed'
