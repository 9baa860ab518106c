#!/bin/bash
# Make build/initramfs.cpio: busybox, fio, rdma-core's programs, the selftests of
# the series and those of mainline that pin memory, and ci/guest-init.
#   ci/initramfs.sh --arch ARCH
# makes build/initramfs-ARCH.cpio, without rdma-core and the selftests of mainline,
# from packages of that architecture. Only made when one of them has changed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arch=x86
[[ ${1-} != --arch ]] || arch=$2
suffix=
[[ $arch == x86 ]] || suffix=-$arch
cross=$(cross_compile "$arch")
out=$build/initramfs$suffix.cpio
log=$logs/initramfs$suffix.log
kselftest=$linux/tools/testing/selftests
root=$build/initramfs$suffix
stage=$build/selftests$suffix
# Where the programs of another architecture are, as if it were a root.
foreign=
mkdir -p "$logs" "$stage"

# What the selftests of RDMA run, and the drivers of rdma-core for them.
rdma_programs=(ip rdma ibv_rc_pingpong rping)
rdma_drivers=(rxe siw)
mm_tests=(gup_test gup_longterm cow hugetlb_dio gup_range)
vfio_tests=(vfio_dma_mapping_test vfio_dma_mapping_mmio_test vfio_pci_driver_test
	vfio_dma_transfer_test vfio_dma_fail_nth_test)

for tool in busybox fio cpio rsync "${rdma_programs[@]}"; do
	command -v "$tool" >/dev/null ||
		die "no $tool for the guest: install what ci/packages names"
done

# program NAME: where it is, for the guest.
program() {
	if [[ $foreign ]]; then
		find "$foreign/bin" "$foreign/usr/bin" -name "$1"
	else
		command -v "$1"
	fi
}

if [[ $arch != x86 ]]; then
	foreign=$build/packages-$arch
	"$top/ci/foreign-packages.sh" "$arch" "$foreign" busybox-static fio
fi
busybox=$(program busybox)
fio=$(program fio)

# The selftests come from selftests/, not from the patch that carries them: that
# one is only as new as the last `make refresh`. The copy has the neighbours that
# it has in the kernel tree.
install_selftests() {
	ln -sfn -t "$stage" "$kselftest"/{lib.mk,kselftest,kselftest.h,kselftest_harness.h,kselftest_fail_nth.h}
	rsync -a --delete --exclude=phyr_vec --exclude=phyr_torn --exclude=phyr_p2p --exclude=phyr_swap --exclude=phyr_grant --exclude=phyr_fail --exclude=phyr_eject "$top/selftests/" "$stage/phyr/"
	make -C "$stage/phyr" CROSS_COMPILE="$cross" INSTALL_PATH="$root/tests/phyr" install
	make -s -C "$stage/phyr" COLLECTION=phyr emit_tests |
		sed -n 's/^phyr://p' >"$root/tests/phyr/progs"
	install -D "$kselftest/kselftest/ktap_helpers.sh" \
		"$root/tests/kselftest/ktap_helpers.sh"
}

# What a program or library names: with ldd, all of it; of another architecture, which
# ldd can't run, the files that it names itself.
libraries() {
	if [[ ! $foreign ]]; then
		ldd "$1" | grep -o '/[^ ]*'
		return
	fi
	"${cross}readelf" -dl "$1" |
		sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p; s/.*program interpreter: \(.*\)\]/\1/p' |
		while read -r name; do
			find "$foreign" -path "*/${name#/}" -printf '/%P\n' | sort | tail -n 1
		done
}

# The libraries that a program or library names, and those that these name.
install_libraries() {
	local library
	for library in $(libraries "$1"); do
		[[ ! -e $root$library ]] || continue
		install -D "$foreign$library" "$root$library"
		[[ ! $foreign ]] || install_libraries "$foreign$library"
	done
}

# kselftest DIRECTORY PROGRAM...: programs of mainline's tools/testing/selftests, or
# scripts, which are there as they are.
kselftest() {
	local dir=$1 prog
	shift
	# made anew: the makefiles do not know all that a program is made of
	rm -rf "${stage:?}/$dir"
	mkdir -p "$stage/$dir"
	for prog; do
		if [[ -f $kselftest/$dir/$prog ]]; then
			install -D "$kselftest/$dir/$prog" "$root/tests/$dir/$prog"
			continue
		fi
		USERCFLAGS="-iquote $stage/include" \
			make -C "$kselftest/$dir" OUTPUT="$stage/$dir" CC="ccache gcc" \
			KHDR_INCLUDES="-isystem $build/guest/usr/include" "$stage/$dir/$prog"
		install -D "$stage/$dir/$prog" "$root/tests/$dir/$prog"
		install_libraries "$stage/$dir/$prog"
	done
}

# A test has 30 s. Some have each allocation fail in turn: too few for that on an emulator
# with KASAN or KCSAN, and a host that has more to do.
patient_harness() {
	local harness=$stage/include/kselftest_harness.h
	mkdir -p "${harness%/*}"
	sed 's/\(#define TEST_TIMEOUT_DEFAULT\) 30$/\1 240/' "$kselftest/kselftest_harness.h" >"$harness"
	grep -q 'TEST_TIMEOUT_DEFAULT 240$' "$harness" || {
		say "kselftest_harness.h has no TEST_TIMEOUT_DEFAULT of 30: see patient_harness in ci/initramfs.sh"
		return 1
	}
}

install_kselftests() {
	patient_harness
	make -C "$linux" O="$build/guest" ARCH=x86 headers
	kselftest mm "${mm_tests[@]}"
	install "$top/ci/guest-gup-test" "$root/tests/mm/gup_test.sh"
	kselftest iommu iommufd iommufd_fail_nth
	kselftest rdma mr_memory mr_memory.sh
	kselftest vfio "${vfio_tests[@]}"
}

install_program() {
	install -D "$1" "$root/bin/${1##*/}"
	install_libraries "$1"
}

install_rdma() {
	local name plugin
	for name in "${rdma_programs[@]}"; do
		install_program "$(command -v "$name")"
	done
	for name in "${rdma_drivers[@]}"; do
		install -D "/etc/libibverbs.d/$name.driver" "$root/etc/libibverbs.d/$name.driver"
		for plugin in /usr/lib/*/libibverbs/lib"$name"-*.so; do
			install -D "$plugin" "$root$plugin"
			install_libraries "$plugin"
		done
	done
}

make_root() {
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,tests}
	install -D "$busybox" "$root/bin/busybox"
	busybox --list | grep -vx busybox | while read -r applet; do
		ln -sf busybox "$root/bin/$applet"
	done
	install_program "$fio"
	install_selftests
	if [[ ! $foreign ]]; then
		install_rdma
		install_kselftests
	fi
	install "$top/ci/guest-init" "$root/init"
}

# Same files, same archive: sorted, no dates, no owners, no inode numbers.
pack() {
	find "$root" -exec touch -hd @0 {} +
	(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --reproducible) >"$out.new"
}

inputs() {
	find "$0" "$top/ci/"{guest-init,guest-gup-test} \
		"$top/selftests" "$kselftest/lib.mk" \
		"$kselftest/kselftest/ktap_helpers.sh" "$kselftest"/kselftest*.h \
		"$kselftest"/{mm,iommu,rdma,vfio} "$linux/include/uapi" \
		"$linux/mm/gup_test.h" "$linux/drivers/iommu/iommufd/iommufd_test.h" \
		"$busybox" "$fio" \
		-type f -print0 | sort -z | xargs -0 sha256sum
}

now=$(inputs)
[[ ! -s $out || ! -f $out.inputs || $now != "$(<"$out.inputs")" ]] || exit 0
# Not run_logged: a function that is tested with || does not stop at an error.
exec 3>&2
failed() {
	tail -n 5 "$log" | sed 's/^/  | /' >&3
	rm -f "$out.new"
	die "cannot make $(rel "$out"): see $(rel "$log") and mend what it names" 2>&3
}
set -E
trap failed ERR
{
	make_root
	pack
} >"$log" 2>&1
mv "$out.new" "$out"
printf '%s\n' "$now" >"$out.inputs"
