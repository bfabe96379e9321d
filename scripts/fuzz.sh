#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, one after the other; targets
# are found, not listed.
#
#   scripts/fuzz.sh [TIME [PATTERN]]     per target: a time, as in 90s, or executions, as in 500x
#
# A finding is kept by go in the package's testdata/fuzz, where plain `go test`
# runs it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-500x} pattern=${2:-.}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0 count=0
while IFS=: read -r file target; do
	dir=$(dirname "$file") target=${target#func } target=${target%(}
	[[ $target =~ $pattern ]] || continue
	count=$((count + 1))
	go test -run='^$' -fuzz="^$target\$" -fuzzminimizetime=10x -fuzztime="$time" "$dir" >"$log" 2>&1 || {
		failed=1
		cat "$log"
	}
	printf 'fuzz: %s %s: %s\n' "$dir" "$target" "$(grep -oE 'elapsed: .*' "$log" | tail -n 1)"
done < <(find . -name .git -prune -o -name '*_test.go' -print0 | sort -z |
	xargs -0 -r grep -HoE '^func Fuzz[A-Za-z0-9_]*\(')
printf 'fuzz: %d targets, %s\n' "$count" "$([ "$failed" -eq 0 ] && echo 'nothing found' || echo 'FAILURES above')"
exit "$failed"
