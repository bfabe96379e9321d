#!/usr/bin/env bash
# Makes the good images that are damaged on purpose: seed-*.img.gz, beside this script.
# Each is small and holds one of everything. Run it as root (for
# device nodes and trusted attributes) when something new should be in them; the same
# e2fsprogs makes the same bytes, but for change and birth times.
set -euo pipefail
cd "$(dirname "$0")"
export E2FSPROGS_FAKE_TIME=1700000000 SOURCE_DATE_EPOCH=1700000000 TZ=UTC
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree() { # DIR TRIPLE: a tree; TRIPLE is the offset, in KiB, of a block behind the triple indirect pointer
	local d=$1
	mkdir -p "$d/a/b/c" "$d/indexed"
	printf 'hello, world\n' >"$d/a/hello"
	ln "$d/a/hello" "$d/a/b/hard-link"
	head -c 40000 /dev/zero | tr '\0' x >"$d/a/plain"
	truncate -s 20M "$d/a/b/sparse"
	for at in 0 11 12 300 19000; do
		printf 'piece at %s' "$at" | dd of="$d/a/b/sparse" bs=1K seek="$at" conv=notrunc status=none
	done
	if [ "$2" -gt 0 ]; then
		truncate -s "$(($2 + 100))K" "$d/a/b/far"
		printf far | dd of="$d/a/b/far" bs=1K seek="$2" conv=notrunc status=none
	fi
	ln -s hello "$d/a/fast"
	ln -s "$(printf 'long/%.0s' {1..30})end" "$d/a/slow"
	mknod "$d/a/null" c 1 3
	mknod "$d/a/large-number" b 300 70000
	mkfifo "$d/a/b/fifo"
	setfattr -n user.small -v 1 "$d/a/hello"
	setfattr -n user.large -v "$(head -c 600 /dev/zero | tr '\0' v)" "$d/a/plain"
	setfattr -n trusted.dir -v yes "$d/a/b"
	setfacl -m u:1234:rwx,g:77:r "$d/a/plain"
	setfacl -d -m u:1234:rwx "$d/a/b/c"
	for i in $(seq 1 "${3:-60}"); do : >"$d/indexed/a-name-of-some-length-$i"; done
	find "$d" -exec touch -h -d @1700000000 {} +
}

image() { # NAME SIZE MKE2FS-ARGUMENTS...
	local img=$work/$1.img
	truncate -s "$2" "$img"
	mke2fs -q -F -t ext2 -m 0 -U 01234567-89ab-cdef-0123-456789abcdef -d "$work/tree" "${@:3}" "$img"
	e2fsck -fyD "$img" >/dev/null || [ $? -eq 1 ]
	e2fsck -fn "$img" >/dev/null
	gzip -9nc "$img" >"seed-$1.img.gz"
}

seed=hash_seed=6c1e4a7c-3d0b-4f5e-9a66-0d9d5f1f3b21
tree "$work/tree" 67000
image 1k 400K -b 1024 -I 256 -N 128 -E "$seed"
image groups 700K -b 1024 -I 128 -N 192 -g 256 -O meta_bg,^resize_inode,^sparse_super -E "$seed"
image rev0 400K -b 1024 -r 0 -N 128
# Room for a journal, one's own or borrowed.
image room 8M -b 1024 -I 256 -N 256 -E "$seed"
image journal 4M -b 1024 -I 256 -N 256 -j -J size=1 -E "$seed"
gunzip -c seed-journal.img.gz >"$work/journal.img"
# One transaction: the root directory's block and an inode table block, as they are, and
# a revoked block.
root=$(debugfs -R 'blocks /' "$work/journal.img" 2>/dev/null | awk '{print $1}')
table=$(dumpe2fs "$work/journal.img" 2>/dev/null | sed -n 's/.*Inode table at \([0-9]*\)-.*/\1/p' | head -n 1)
for b in "$root" "$table"; do dd if="$work/journal.img" bs=1K skip="$b" count=1 status=none; done >"$work/blocks"
printf 'jo\njw -b %s %s\njw -r 2000\njc\n' "$root,$table" "$work/blocks" | debugfs -w -f - "$work/journal.img" >/dev/null 2>&1
dumpe2fs -h "$work/journal.img" 2>/dev/null | grep -q needs_recovery
gzip -9nc "$work/journal.img" >seed-journal.img.gz
rm -rf "$work/tree"
tree "$work/tree" 0 250
image 4k 800K -b 4096 -I 512 -N 352 -E "$seed"
ls -l seed-*.img.gz
