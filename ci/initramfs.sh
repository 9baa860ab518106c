#!/bin/bash
# Make build/initramfs.cpio: busybox, fio, rdma-core's programs, the selftests of
# the series and those of mainline that pin memory, and ci/guest-init.
# Only made when one of them has changed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$build/initramfs.cpio
log=$logs/initramfs.log
kselftest=$linux/tools/testing/selftests
root=$build/initramfs
stage=$build/selftests
mkdir -p "$logs" "$stage"

# What the selftests of RDMA run, and the drivers of rdma-core for them.
rdma_programs=(ip rdma ibv_rc_pingpong rping)
rdma_drivers=(rxe siw)
mm_tests=(gup_test gup_longterm cow hugetlb_dio gup_range)
vfio_tests=(vfio_dma_mapping_test vfio_dma_mapping_mmio_test vfio_pci_driver_test
	vfio_dma_transfer_test)

for tool in busybox fio cpio rsync "${rdma_programs[@]}"; do
	command -v "$tool" >/dev/null ||
		die "no $tool for the guest: install what ci/packages names"
done

# The selftests come from selftests/, not from the patch that carries them: that
# one is only as new as the last `make refresh`. The copy has the neighbours that
# it has in the kernel tree.
install_selftests() {
	ln -sfn -t "$stage" "$kselftest"/{lib.mk,kselftest,kselftest.h,kselftest_harness.h}
	rsync -a --delete --exclude=phyr_vec --exclude=phyr_torn --exclude=phyr_p2p --exclude=phyr_swap --exclude=phyr_grant "$top/selftests/" "$stage/phyr/"
	make -C "$stage/phyr" INSTALL_PATH="$root/tests/phyr" install
	make -s -C "$stage/phyr" COLLECTION=phyr emit_tests |
		sed -n 's/^phyr://p' >"$root/tests/phyr/progs"
	install -D "$kselftest/kselftest/ktap_helpers.sh" \
		"$root/tests/kselftest/ktap_helpers.sh"
}

# The libraries that a program or library names.
install_libraries() {
	ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
		install -D "$library" "$root$library"
	done
}

# kselftest DIRECTORY PROGRAM...: programs of mainline's tools/testing/selftests, or
# scripts, which are there as they are.
kselftest() {
	local dir=$1 prog
	shift
	mkdir -p "$stage/$dir"
	for prog; do
		if [[ -f $kselftest/$dir/$prog ]]; then
			install -D "$kselftest/$dir/$prog" "$root/tests/$dir/$prog"
			continue
		fi
		make -C "$kselftest/$dir" OUTPUT="$stage/$dir" CC="ccache gcc" \
			KHDR_INCLUDES="-isystem $build/guest/usr/include" "$stage/$dir/$prog"
		install -D "$stage/$dir/$prog" "$root/tests/$dir/$prog"
		install_libraries "$stage/$dir/$prog"
	done
}

install_kselftests() {
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
	install -D "$(command -v busybox)" "$root/bin/busybox"
	busybox --list | grep -vx busybox | while read -r applet; do
		ln -sf busybox "$root/bin/$applet"
	done
	install_program "$(command -v fio)"
	install_rdma
	install_selftests
	install_kselftests
	install "$top/ci/guest-init" "$root/init"
}

# Same files, same archive: sorted, no dates, no owners, no inode numbers.
pack() {
	find "$root" -exec touch -hd @0 {} +
	(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --reproducible) >"$out.new"
}

inputs() {
	find "$0" "$top/ci/"guest-{init,gup-test} "$top/selftests" "$kselftest/lib.mk" \
		"$kselftest/kselftest/ktap_helpers.sh" "$kselftest"/kselftest*.h \
		"$kselftest"/{mm,iommu,rdma,vfio} "$linux/include/uapi" \
		"$(command -v busybox)" "$(command -v fio)" \
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
