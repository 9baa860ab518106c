#!/bin/bash
# Make build/initramfs.cpio: busybox, fio, the selftests and ci/guest-init.
# Only made when one of them has changed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$build/initramfs.cpio
log=$logs/initramfs.log
kselftest=$linux/tools/testing/selftests
root=$build/initramfs
stage=$build/selftests
mkdir -p "$logs" "$stage"

for tool in busybox fio cpio rsync; do
	command -v "$tool" >/dev/null ||
		die "no $tool for the guest: install what ci/packages names"
done

# The selftests come from selftests/, not from the patch that carries them: that
# one is only as new as the last `make refresh`. The copy has the neighbours that
# it has in the kernel tree.
install_selftests() {
	ln -sfn -t "$stage" "$kselftest"/{lib.mk,kselftest,kselftest.h,kselftest_harness.h}
	rsync -a --delete --exclude=phyr_vec --exclude=phyr_torn "$top/selftests/" "$stage/phyr/"
	make -C "$stage/phyr" INSTALL_PATH="$root/tests/phyr" install
	make -s -C "$stage/phyr" COLLECTION=phyr emit_tests |
		sed -n 's/^phyr://p' >"$root/tests/phyr/progs"
	install -D "$kselftest/kselftest/ktap_helpers.sh" \
		"$root/tests/kselftest/ktap_helpers.sh"
}

# A program and the libraries that it names.
install_program() {
	install -D "$1" "$root/bin/${1##*/}"
	ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
		install -D "$library" "$root$library"
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
	install_selftests
	install "$top/ci/guest-init" "$root/init"
}

# Same files, same archive: sorted, no dates, no owners, no inode numbers.
pack() {
	find "$root" -exec touch -hd @0 {} +
	(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --reproducible) >"$out.new"
}

inputs() {
	find "$0" "$top/ci/guest-init" "$top/selftests" "$kselftest/lib.mk" \
		"$kselftest/kselftest/ktap_helpers.sh" \
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
