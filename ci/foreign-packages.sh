#!/usr/bin/env bash
# Unpacks packages of another architecture, with all that these depend on:
#   ci/foreign-packages.sh ARCHITECTURE DIR PACKAGE...
# Nothing is installed, and apt's configuration and lists stay as they are. Does
# nothing if the packages are there.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/apt.sh
. "$top/ci/apt.sh"

(($# >= 3)) || die "usage: ci/foreign-packages.sh ARCHITECTURE DIR PACKAGE..."
architecture=$1 dir=$2
shift 2
log=$logs/packages-$architecture.log
[[ ! -f $dir.packages || $(<"$dir.packages") != "$*" ]] || exit 0

mkdir -p "$logs" "$build/tmp"
work=$(mktemp -d "$build/tmp/packages.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The release that this machine runs, so that host and guest have the same programs.
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

# Downloads them from the first of the system's mirrors that has them.
download() {
	local mirror
	while read -r mirror; do
		setup_apt "$mirror" "$suite" "$architecture"
		if apt_private apt-get update &&
			apt_private apt-get -y --download-only install "$@"; then
			return
		fi
	done < <(mirrors)
	cp "$work/apt/log" "$log" 2>/dev/null || : >"$log"
	die "cannot fetch $* for $architecture ($(apt_reason)): check the network and $(rel "$log")"
}

say "packages: fetching $* for $architecture"
download "$@"
rm -rf "$dir" "$dir.packages"
mkdir -p "$dir"
for deb in "$work"/apt/cache/archives/*.deb; do
	dpkg-deb -x "$deb" "$dir" ||
		die "cannot unpack ${deb##*/}: look for free space in build/"
done
say "$*" >"$dir.packages"
