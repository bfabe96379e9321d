#!/usr/bin/env bash
# Runs go test with the arguments given and shows a line per package, and all of what failed.
# Root can do all that tests need, so a test that skips itself then is a failure: it would
# run nowhere. SKIPS=allowed lets it, where there is no /dev/fuse, say.
set -euo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
set +e
go test -v "$@" 2>&1 | tee "$log" | grep --line-buffered -E '^(ok|FAIL|panic:)[[:space:]]'
status=${PIPESTATUS[0]}
set -e
if [ "$status" -ne 0 ]; then
	grep -vE '^ *(=== (RUN|PAUSE|CONT|NAME)|--- PASS)' "$log" || true
	exit "$status"
fi
if skipped=$(grep -B 2 -E '^ *--- SKIP' "$log"); then
	printf 'tests that skipped themselves:\n%s\n' "$skipped"
	[ "$(id -u)" -ne 0 ] || [ "${SKIPS:-}" = allowed ] || exit 1
fi
