#!/usr/bin/env bash
# Shows ext2fuse at work: makes an ext2 image with real files in it, mounts it, shows
# it, compares it with what went in, unmounts it, and has e2fsck check it. Works as
# root and as a plain user, and leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin

work=$(mktemp -d "${TMPDIR:-/tmp}/ext2fuse-demo.XXXXXX")
here=$PWD image=disk.img mnt=mnt tree=tree
clean_up() {
	cd "$work"
	if mountpoint -q "$mnt"; then ext2fuse -u "$mnt" || true; fi
	cd "$here"
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
	die "/dev/fuse cannot be opened by $(id -un); as root: modprobe fuse; chmod 666 /dev/fuse"
fi

step 'An ext2 image with this source tree in it, a large file, a sparse one, links and attributes'
mkdir -p "$work/$mnt" "$work/$tree/docs"
cp -r blockio cache cmd fs mpage scripts Makefile README.md LICENSE "$work/$tree/"
cd "$work"
head -c 50M /dev/urandom >"$tree/large"
truncate -s 256M "$tree/sparse" && echo 'the end' >>"$tree/sparse"
ln -s ../README.md "$tree/docs/readme"
ln "$tree/LICENSE" "$tree/docs/license"
touch -d '1969-07-20 20:17:40 UTC' "$tree/LICENSE"
setfattr -n user.note -v 'an extended attribute' "$tree/large" 2>/dev/null || true
show mke2fs -q -F -t ext2 -d "$tree" "$image" 128M

step 'Mounted'
show ext2fuse -o ro "$image" "$mnt"
show df -h "$mnt"
show ls -la "$mnt"
show stat "$mnt/docs/license"
show head -n 3 "$mnt/docs/readme"
show du -h --apparent-size "$mnt/sparse"
show du -h "$mnt/sparse"

step 'The same as what went in?'
show diff -r --no-dereference --exclude lost+found "$tree" "$mnt"
[ "$(getfattr --only-values -n user.note "$mnt/large" 2>/dev/null)" = "$(getfattr --only-values -n user.note "$tree/large" 2>/dev/null)" ] ||
	die 'an extended attribute differs'
[ "$(stat -c %y "$mnt/LICENSE")" = "$(stat -c %y "$tree/LICENSE")" ] || die 'a time differs'
echo 'yes'

step 'Unmounted and checked'
show ext2fuse -u "$mnt"
show e2fsck -f -n "$image"
step 'All went well.'
