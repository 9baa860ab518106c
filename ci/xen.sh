#!/usr/bin/env bash
# Makes build/xen/xen: the hypervisor of the distribution, unpacked but not
# installed, as that would make it what the machine boots next. QEMU's -kernel
# takes it as it is.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$build/xen/xen
log=$logs/xen.log
[[ ! -s $out ]] || exit 0
rm -rf "$build/xen"
mkdir -p "$build/xen" "$logs"

# Its name has the version, which is the release's.
package() {
	apt-cache depends xen-system-amd64 2>/dev/null |
		sed -n 's/.*Depends: \(xen-hypervisor-[0-9.]*-amd64\)$/\1/p'
}

name=$(package)
[[ $name ]] || { run_logged "$log" apt-get update && name=$(package); } ||
	die "xen: apt knows no xen-system-amd64: see $(rel "$log") and check the network"
[[ $name ]] || die "xen: no hypervisor in the archives that apt knows"
(cd "$build/xen" && run_logged "$log" apt-get download "$name") ||
	die "xen: cannot fetch $name: see $(rel "$log") and check the network"
dpkg-deb -x "$build/xen/$name"_*.deb "$build/xen"
gzip -dc "$build"/xen/boot/xen-*-amd64.gz >"$out.new" ||
	die "xen: $name has no hypervisor in it"
mv "$out.new" "$out"
