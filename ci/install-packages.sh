#!/usr/bin/env bash
# Installs what lists in ci/ name and the machine does not have:
# ci/install-packages.sh [LIST...]; without, the list is ci/packages.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

log=$logs/packages.log

installed() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Another apt at work, such as the system's own, is waited for.
apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -q -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}

lists=("${@:-packages}")
for list in "${lists[@]}"; do
	[[ -f $top/ci/$list ]] || die "packages: no list ci/$list: name one that exists"
done

command -v dpkg-query apt-get >/dev/null ||
	die "packages: no dpkg or apt-get on this machine: Debian 12 or 13 is needed: install what ci/${lists[*]} names by hand"

missing=()
while read -r package; do
	installed "$package" || missing+=("$package")
done < <(cd "$top/ci" && sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "${lists[@]}")
((${#missing[@]})) || exit 0

((EUID == 0)) ||
	die "packages: missing, and only root can install them: as root: apt-get install --no-install-recommends ${missing[*]}"

say "packages: installing ${missing[*]} (log: $(rel "$log"))"
mkdir -p "$logs"
: >"$log"
# The lists may be absent or old: they are fetched only when that matters.
apt_get install "${missing[@]}" || { apt_get update && apt_get install "${missing[@]}"; } ||
	die "packages: apt-get cannot install ${missing[*]}: $(grep -m1 '^E: ' "$log" || echo 'no reason given'): see $(rel "$log")"
