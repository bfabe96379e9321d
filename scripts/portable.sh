#!/usr/bin/env bash
# What runs elsewhere: the program is built for every Linux that is promised, static; the
# decoders' tests run on a 32-bit and on a big-endian machine (emulated by qemu-user where
# need be); and go vet finds that all compiles on systems that cannot mount, where the
# program says so.
#
#   scripts/portable.sh [DIR]    leaves the programs in DIR
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 GOOS=linux

out=${1:-}
if [ -z "$out" ]; then
	out=$(mktemp -d)
	trap 'rm -rf "$out"' EXIT
fi

for arch in amd64 arm64 386 riscv64 s390x; do
	GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$out/ext2fuse-$arch" ./cmd/ext2fuse
	printf 'portable: linux/%-8s %s bytes\n' "$arch" "$(stat -c %s "$out/ext2fuse-$arch")"
done

for arch in 386 s390x; do
	printf 'portable: vet linux/%s\n' "$arch"
	GOARCH=$arch go vet ./...
done
for os in darwin freebsd; do
	printf 'portable: vet %s\n' "$os"
	GOOS=$os go vet ./...
done

# A package for another machine has that machine's program, and says so.
make -s deb GOARCH=arm64 >/dev/null
if [ "$(dpkg-deb -f dist/ext2fuse_*_arm64.deb Architecture)" != arm64 ] ||
	! dpkg-deb --fsys-tarfile dist/ext2fuse_*_arm64.deb | tar -xO ./usr/bin/ext2fuse | cmp - bin/ext2fuse-arm64 ||
	[ "$(od -An -tu2 -j18 -N2 bin/ext2fuse-arm64 | tr -d ' ')" != 183 ]; then
	echo 'portable: the package for arm64 is not one' >&2
	exit 1
fi
printf 'portable: deb linux/arm64\n'

run=$(mktemp -d)
trap 'rm -rf "$run"; [ -n "${1:-}" ] || rm -rf "$out"' EXIT
for arch in 386 s390x; do
	emulator=() skip='^$'
	if [ "$arch" = s390x ]; then
		if ! command -v qemu-s390x-static >/dev/null; then
			echo 'portable: no qemu-s390x-static (package qemu-user-static); the big-endian tests are not run' >&2
			exit 1
		fi
		emulator=(qemu-s390x-static)
		# qemu-user has neither preadv2(2) nor ioctls of file systems.
		skip='Kernel|CopiedInMotion'
	fi
	for pkg in fs/ext2/disk fs/ext2/jbd2 histogram; do
		GOARCH=$arch go test -c -o "$run/test" "./$pkg"
		(cd "$pkg" && "${emulator[@]}" "$run/test" -test.short -test.skip "$skip" | sed "s|^|portable: $arch $pkg: |")
	done
	if [ "$arch" = s390x ]; then
		"${emulator[@]}" "$out/ext2fuse-s390x" help >/dev/null
	fi
done
