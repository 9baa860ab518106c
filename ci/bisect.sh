#!/usr/bin/env bash
# make bisect FROM=n TO=m: does every patch stand alone? For each in turn, what it
# touches and all that includes its headers, in the small config, is compiled with W=1 and
# sparse, without a warning that the base does not have. What ends a part (ci/parts) is built
# whole and booted. Speaks KTAP, on stdout and in build/log/ktap/bisect.ktap.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

work=$build/bisect
tree=$work/linux
known=$work/known

# kbuild TREE OBJECTS COMMAND-LINE...: with the output of each command in one piece, as the
# warnings are those of the command before them.
kbuild() {
	make -C "$1" O="$2" ARCH=x86 LOCALVERSION=-phyr CC="ccache gcc" KBUILD_BUILD_VERSION=1 \
		W=1 -Otarget -j"$jobs" "${@:3}" </dev/null
}

# A working tree of build/linux of its own: its objects are no others'.
make_tree() {
	[[ -e $1/.git ]] || {
		rm -rf "$1"
		lgit worktree prune
		lgit worktree add -q --force --detach "$1" "$2"
	}
	git -C "$1" checkout -q --force --detach "$2"
}

# Only a .config that is another one is put in place: make sees no change else.
configure() {
	local fragment
	for fragment in x86 "${guest_config[@]}"; do
		cat "$top/kernel-config/$fragment"
	done >"$2/fragments"
	kbuild "$1" "$2" KCONFIG_CONFIG="$2/.config.new" KCONFIG_ALLCONFIG="$2/fragments" allnoconfig
	cmp -s "$2/.config.new" "$2/.config" || mv "$2/.config.new" "$2/.config"
	rm -f "$2/.config.new"
	kbuild "$1" "$2" prepare
}

# warnings LOG: "object<TAB>warning", without line numbers, as patches move lines, and without
# the name of the tree.
warnings() {
	sed -E "s,($tree|$work/base|\.\./linux|\.\./base)/,,g" "$1" | awk '
		/^  (CC|CHECK) / { object = $NF; sub(/\.c$/, ".o", object); next }
		/(warning|error):/ { print object "\t" $0 }' |
		grep -vE "$sparse_defects" | sed -E 's/:[0-9]+:([0-9]+:)?/:/' | sort -u || true
}

# known_warnings OBJECT...: what the base says of these, remembered in $known. An object that it
# does not have has nothing to say.
known_warnings() {
	local object new=() log=$logs/bisect-base.log
	for object; do
		grep -qxF "$object" "$known.objects" || new+=("$object")
	done
	((${#new[@]})) || return 0
	for object in "${new[@]}"; do
		rm -f "$work/base-objects/$object"
	done
	kbuild "$work/base" "$work/base-objects" -k C=1 CHECK="$sparse" "${new[@]}" >"$log" 2>&1 || true
	warnings "$log" | cut -f2 >>"$known"
	printf '%s\n' "${new[@]}" >>"$known.objects"
}

# compiles N: the tree as it is after patch N.
compiles() {
	local log=$logs/bisect-$1.log objects found
	kbuild "$tree" "$work/objects" C=1 CHECK="$sparse" vmlinux_a >"$log" 2>&1 || {
		grep -nE 'error:|\*\*\*|undefined reference' "$log" | head -n 20
		return 1
	}
	mapfile -t objects < <(warnings "$log" | cut -f1 | sort -u)
	known_warnings "${objects[@]}"
	found=$(warnings "$log" | cut -f2 | sort -u | grep -vxFf "$known" || true)
	[[ -z $found ]] || { say "$found"; return 1; }
	say "$(grep -c '^  CC ' "$log" || true) files compiled"
}

# The part that patch N ends, if it ends one.
part_of() {
	awk -F '\t' -v s="$1" '!/^#/ && $2 == s { print $1 }' "$top/ci/parts"
}

# test_patch N: one test.
test_patch() {
	local n=$1 commit=${commits[$1 - 1]} subject part said='' status=0
	subject=$(lgit log -1 --format=%s "$commit")
	part=$(part_of "$subject")
	git -C "$tree" checkout -q --force --detach "$commit"
	run_logged "$logs/bisect-configure.log" configure "$tree" "$work/objects" || status=1
	((status)) || said=$(compiles "$n") || status=1
	# Without sparse, which does not know what the boot code is compiled for.
	if [[ $part ]] && ((!status)); then
		run_logged "$logs/bisect-link.log" kbuild "$tree" "$work/objects" bzImage || status=1
	fi
	# A probe that the base has as well.
	if [[ $part ]] && ((!status)); then
		said+=", $(PHYR_PROBE=blk_rq_dma_map_iter_start "$top/ci/boot.sh" "$work/objects/arch/x86/boot/bzImage" | tail -n 1)" || status=1
	fi
	((status)) || report "# ${said//$'\n'/$'\n'# }"
	verdict "$n $subject${part:+, the end of $part}" "$status" "$said"
}

lock_build
"$top/ci/tree.sh"
base=$(base_commit)
mapfile -t commits < <(lgit rev-list --reverse "$base..HEAD")
from=${FROM:-1} to=${TO:-${#commits[@]}}
if [[ ! $from =~ ^[0-9]+$ || ! $to =~ ^[0-9]+$ ]] || ((from < 1 || from > to || to > ${#commits[@]})); then
	die "bisect: FROM=$from TO=$to: the series has patches 1 to ${#commits[@]}"
fi
subjects=$(lgit log --format=%s "$base..HEAD")
while IFS=$'\t' read -r part subject; do
	[[ $part == \#* ]] || grep -qxF -- "$subject" <<<"$subjects" ||
		die "ci/parts: no patch \"$subject\" ends the part $part: name the last one of it"
done <"$top/ci/parts"
mkdir -p "$work/objects" "$work/base-objects" "$ktap" "$logs"
make_tree "$work/base" "$base"
make_tree "$tree" "$(lgit rev-parse "${commits[from - 1]}^")"
# What the base says depends on what it is compiled with.
key=$(cat "$top"/kernel-config/* | sha256sum)
if [[ ! -f $known.objects || $(head -n 1 "$known.objects") != "$base $key" ]]; then
	: >"$known"
	say "$base $key" >"$known.objects"
fi
stage 1 4 "the initramfs of the boots (log: $(rel "$logs/initramfs.log"))"
"$top/ci/initramfs.sh"
stage 2 4 "configure the base (log: $(rel "$logs/bisect-base.log"))"
run_logged "$logs/bisect-base.log" configure "$work/base" "$work/base-objects"
stage 3 4 "build what is before patch $from (log: $(rel "$logs/bisect-before.log"))"
run_logged "$logs/bisect-before.log" configure "$tree" "$work/objects"
run_logged "$logs/bisect-before.log" kbuild "$tree" "$work/objects" vmlinux_a
stage 4 4 "patches $from to $to (logs: $(rel "$logs")/bisect-N.log)"
ktap_start bisect $((to - from + 1))
for ((n = from; n <= to; n++)); do
	test_patch "$n"
done
ktap_end
