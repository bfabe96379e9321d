#!/usr/bin/env bash
# The linters, each for a reason. Versions are pinned in scripts/tools/go.mod.
#
#   gofmt -s     one look, so that a diff shows changes only
#   go vet       the compiler's doubts: copied locks, wrong formats, lost cancels
#   staticcheck  dead code, misused library calls, documentation of exported names
#   nilness      a nil that is used: a panic waiting for a malformed image
#   errcheck     a dropped error is lost data: in all that touches images, though
#                not in tests and tools; scripts/tools/errcheck.txt lists what may be
#                dropped
#   govulncheck  a known hole in what is called of the libraries. Its database is at
#                vuln.go.dev, or where GOVULNDB says; where neither can be reached,
#                that is said, and no failure
#   tracked.sh   a built program or another large file that git was given by accident
#   and for the scripts, shellcheck: names of images and mounts come from users

# The functions are called through run, which shellcheck does not see.
# shellcheck disable=SC2317
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
failed=0

run() {
	local out
	if ! out=$("${@:2}" 2>&1); then
		printf 'lint: %s\n%s\n' "$1" "$out" >&2
		failed=1
	fi
}
tool() { go tool -modfile=scripts/tools/go.mod "$@"; }

gofmt_clean() {
	local out
	out=$(find . -name .git -prune -o -name '*.go' -print0 | xargs -0 -r gofmt -s -l)
	if [ -n "$out" ]; then
		printf 'not formatted, run gofmt -s -w on:\n%s\n' "$out"
		return 1
	fi
}

shell_scripts() {
	grep -rlZ --exclude='*.go' --exclude='*.md' '^#!.*sh$' scripts .ci | xargs -0 -r shellcheck
}

known_holes() {
	local out status=0
	out=$(tool govulncheck ./cmd/... 2>&1) || status=$?
	case $status:$out in
	0:*) ;;
	*'fetching vulnerabilities'*) printf 'lint: libraries not scanned for known holes: %s\n' "${out##*: }" >&3 ;;
	*) printf '%s\n' "$out" && return 1 ;;
	esac
}

exec 3>&2
run tracked scripts/tracked.sh
run gofmt gofmt_clean
run 'go vet' go vet ./...
run staticcheck tool staticcheck ./...
run nilness tool nilness ./...
run errcheck tool errcheck -ignoretests -exclude scripts/tools/errcheck.txt \
	./blockio ./cache ./mpage ./fs/ext2 ./fs/ext2/disk ./fs/ext2/fusefs ./cmd/...
run shellcheck shell_scripts
run govulncheck known_holes
[ "$failed" -eq 0 ] && echo 'lint: clean'
exit "$failed"
