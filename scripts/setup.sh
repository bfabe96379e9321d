#!/usr/bin/env bash
# Installs what building, mounting and testing with ext2fuse needs on Debian and its
# kin, and nothing that is there already. With everything in place it only looks, and is
# done in a blink; run it as often as you like.
#
#   scripts/setup.sh          install what is missing
#   scripts/setup.sh --demo   install what building and mounting need
#   scripts/setup.sh --check [--demo]  install nothing, exit 1 and say what is missing
set -euo pipefail

demo='' check=''
for option; do
	case $option in
	--demo) demo=yes ;;
	--check) check=yes ;;
	*) printf 'setup: %s is no option; known are --demo and --check\n' "$option" >&2; exit 2 ;;
	esac
done

# What is looked for, and the package that brings it.
needs=(
	'cmd:git git'
	'cmd:make make'
	'cmd:mke2fs e2fsprogs'              # mke2fs, e2fsck, debugfs, dumpe2fs
	'cmd:mount mount'                   # mount, losetup
	'cmd:fusermount3 fuse3'
)
[ -n "$demo" ] || needs+=(
	'cmd:gcc gcc'                       # the race detector needs cgo
	'path:/usr/include/stdlib.h libc6-dev'
	'cmd:debugfs e2fsprogs'
	'cmd:losetup mount'
	'cmd:partx util-linux'
	'cmd:sfdisk fdisk'
	'cmd:fuse2fs fuse2fs'               # the peer in the benchmarks
	'cmd:fio fio'
	'cmd:stress-ng stress-ng'           # loads on a mount, with fio, git, tar
	'cmd:sqlite3 sqlite3'
	'cmd:tar tar'
	'cmd:setfattr attr'
	'cmd:systemd-analyze systemd'       # looks at the unit that is installed
	'cmd:setpriv util-linux'
	'cmd:setfacl acl'
	'cmd:xz xz-utils'
	'cmd:shellcheck shellcheck'
	'cmd:qemu-s390x-static qemu-user-static' # the decoders on a big-endian machine
	'cmd:zsh zsh'                       # completions are held against the shells
	'cmd:fish fish'
	'cmd:groff groff'                   # the manual page
	'cmd:fuser psmisc'                  # what messages advise is done
	'cmd:file file'
	'path:/usr/share/forensics-samples/fs.ext2.xz forensics-samples-ext2'
)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The tools of a plain user's shell may lack /sbin, where half of them live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=()
for need in "${needs[@]}"; do
	what=${need%% *} package=${need##* }
	case $what in
	cmd:*) command -v "${what#cmd:}" >/dev/null || missing+=("$package") ;;
	path:*) [ -e "${what#path:}" ] || missing+=("$package") ;;
	esac
done
if [ ${#missing[@]} -gt 0 ]; then
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
can_be_root() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }

if [ ${#missing[@]} -gt 0 ]; then
	[ -z "$check" ] || die "missing packages: ${missing[*]}"
	command -v apt-get >/dev/null ||
		die "this is not a Debian system (no apt-get); please install what these Debian packages hold: ${missing[*]}"
	can_be_root ||
		die "missing packages: ${missing[*]}; neither root nor sudo here, so ask an administrator to run: apt-get install ${missing[*]}"
	say "installing ${missing[*]}"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	{
		"${as_root[@]}" apt-get -q update &&
			"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
				apt-get -q -y --no-install-recommends install "${missing[@]}"
	} >"$log" 2>&1 || {
		cat "$log" >&2
		die "apt-get failed (its output is above); wanted: ${missing[*]}"
	}
fi

command -v go >/dev/null ||
	die "no go command; install Go 1.25 or newer, from https://go.dev/dl/ or Debian's golang packages"

# /dev/fuse: the module may not be loaded yet, and without udev the node keeps a
# mode that locks plain users out. 0666 is what udev's rules give it.
if [ -z "$check" ] && [ ! -e /dev/fuse ] && can_be_root; then
	"${as_root[@]}" modprobe fuse 2>/dev/null || true
fi
if [ ! -e /dev/fuse ]; then
	say "no /dev/fuse: this kernel or container has no FUSE; nothing can be mounted"
elif [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	# The tests also mount as a plain user.
	if [ -z "$check" ] && can_be_root && "${as_root[@]}" chmod 0666 /dev/fuse 2>/dev/null; then
		say "/dev/fuse: mode 0666, as udev would set it"
	elif [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
		say "/dev/fuse is closed to you: nothing can be mounted; root can open it with: chmod 666 /dev/fuse"
	fi
fi
