#!/usr/bin/env bash
# Refuses what is in git by accident, in the work tree that it is called in: programs that
# somebody built there, and anything of more than 1 MiB. Where there is no git, there is nothing
# to say.
set -euo pipefail
export LC_ALL=C

git rev-parse --is-inside-work-tree >/dev/null 2>&1 || exit 0
mapfile -d '' files < <(git ls-files -z)
failed=0
refuse() {
	printf '%s: %s; take it out: git rm --cached %q\n' "$1" "$2" "$1"
	failed=1
}
for file in "${files[@]}"; do
	if [ ! -f "$file" ] || [ -L "$file" ]; then
		continue
	fi
	magic=
	read -r -N 4 magic <"$file" || true
	if [ "$magic" = $'\x7fELF' ]; then
		refuse "$file" 'a built program is tracked by git'
	elif [ -n "$(find "./$file" -size +1024k)" ]; then
		refuse "$file" 'a file of more than 1 MiB is tracked by git'
	fi
done
exit "$failed"
