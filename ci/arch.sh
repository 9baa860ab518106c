#!/usr/bin/env bash
# Compiles what the series touches for other architectures: ci/arch.sh [NAME...].
# All that is to be had there, allmodconfig, in build/arch-NAME; W=1, and the
# symbols of the objects in place of a link. A file that an architecture can't
# have is skipped only if ci/arch-lacks says why. Speaks KTAP, on stdout and in
# build/log/ktap/arch.ktap; details are lines that start with #.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

# The name, and what kbuild calls it. Between them these have size_t and
# phys_addr_t of all sizes, both byte orders, pages of 4K and 64K, memory that is
# not coherent, dma-iommu, and dma_map_ops of their own.
all=(i386 i386-pae arm64 arm riscv64 powerpc64 s390x sparc64 parisc x86_64)
declare -A arch_of=([i386-pae]=i386 [riscv64]=riscv [powerpc64]=powerpc [s390x]=s390)
declare -A cross_of=([i386]=i686-linux-gnu- [i386-pae]=i686-linux-gnu- [arm64]=aarch64-linux-gnu-
	[arm]=arm-linux-gnueabihf- [parisc]=hppa-linux-gnu- [x86_64]='')

# A changed header says something about a file that includes it if it changed in
# this many lines, and if no more files than this include it.
much=20
few=30

scratch=$build/tmp/arch

# Of the architecture at hand: the options that are on. Of each file: those that it
# needs, and whether there is an object of it.
declare -A on wanted built

trap 'rm -rf "$scratch"' EXIT

touched() {
	lgit diff --no-renames --diff-filter=AM --name-only "$base..HEAD" -- "$@" ':!tools'
}

# The headers that change in many lines.
changed_headers() {
	lgit diff --no-renames --diff-filter=AM --numstat "$base..HEAD" -- '*.h' ':!tools' ':!include/uapi' |
		awk -v much="$much" '$1 + $2 >= much { print $3 }'
}

# The .c files that include one of these by its name, without those that the series
# changes themselves.
users() {
	local header
	while read -r header; do
		case $header in
		include/*) lgit grep -l -F "#include <${header#include/}>" -- '*.c' ':!tools' ;;
		*) lgit grep -l -E "#include \"([^\"]*/)?${header##*/}\"" -- "${header%/*}/*.c" ;;
		esac >"$scratch/includers" || true
		(($(wc -l <"$scratch/includers") > few)) || cat "$scratch/includers"
	done < <(changed_headers)
}

# The page tables of generic_pt are all made from its headers, and so are their tests.
page_tables() {
	local f
	for f in "$linux"/drivers/iommu/generic_pt/fmt/iommu_*.c; do
		f=${f#"$linux/"}
		say "$f"
		say "${f/iommu_/kunit_iommu_}"
	done
}

# Where there are dma_map_ops.
map_ops() {
	lgit grep -l -E '^(static )?(const )?struct dma_map_ops .*= ?\{' -- "arch/$srcarch/*.c" 'drivers/*.c'
}

kmake() {
	make -C "$linux" O="$out" ARCH="$arch" CROSS_COMPILE="$cross" CC="ccache ${cross}gcc" W=1 "$@"
}

configure() {
	local missing new=$out/.config.new
	command -v "${cross}gcc" >/dev/null || die "no ${cross}gcc: ci/install-packages.sh packages-arch"
	cat "$top/kernel-config/arch" >"$out/fragments"
	[[ ! -f $top/kernel-config/arch-$machine ]] || cat "$top/kernel-config/arch-$machine" >>"$out/fragments"
	run_logged "$log" kmake KCONFIG_CONFIG="$new" KCONFIG_ALLCONFIG="$out/fragments" allmodconfig ||
		die "cannot configure build/arch-$machine: see $(rel "$log")"
	missing=$(lost "$out/fragments" "$new")
	[[ -z $missing ]] || die "kernel-config (arch, arch-$machine): the kernel did not take ${missing% }"
	cmp -s "$new" "$out/.config" || mv "$new" "$out/.config"
	rm -f "$new"
	run_logged "$log" kmake -j"$jobs" prepare || die "cannot prepare build/arch-$machine: see $(rel "$log")"
}

# On what left sides of the Makefile $1 the object or directory $2 is.
in_makefile() {
	[[ -f $linux/$1 ]] || return 0
	sed -e ':a' -e '/\\$/N' -e 's/\\\n/ /' -e 'ta' "$linux/$1" | awk -v want="$2" '
		match($0, /[ \t]*[+:]?=/) {
			n = split(substr($0, RSTART + RLENGTH), words)
			for (i = 1; i <= n; i++)
				if (words[i] == want) { print substr($0, 1, RSTART - 1); next }
		}'
}

# The options that the object or directory $2 of directory $1 needs.
needs() {
	local side
	while read -r side; do
		grep -oE 'CONFIG_[A-Za-z0-9_]+' <<<"$side" || true
		case $side in
		obj-* | lib-* | dtb-*) ;;
		*) needs "$1" "$(sed -E 's/-(y|m|objs|\$\(.*\))$//' <<<"$side").o" ;;
		esac
	done < <(in_makefile "$1/Makefile" "$2")
}

# The same with the directories above. The page tables are in no list by their name.
needs_all() {
	local dir=${1%/*} object=${1##*/}
	object=${object%.c}.o
	case $1 in
	*/generic_pt/fmt/*mock.c) say CONFIG_IOMMUFD_TEST ;;
	*/generic_pt/fmt/*) say "CONFIG_IOMMU_PT_$(sed -E 's/^(kunit_)?iommu_(.*)\.o$/\U\2/' <<<"$object")" ;;
	esac
	[[ $object != kunit_iommu_* ]] || say CONFIG_IOMMU_PT_KUNIT_TEST
	needs "$dir" "$object"
	while [[ $dir == */* ]]; do
		needs "${dir%/*}" "${dir##*/}/"
		dir=${dir%/*}
	done
}

# Those of them that are off.
lacks() {
	local option
	for option in ${wanted[$1]}; do
		[[ -n ${on[$option]-} ]] || say "$option"
	done
}

# What is on, in the array "on"; which of the files this architecture then has, in
# the array "here".
sort_out() {
	local f option
	on=() here=()
	while read -r option; do
		on[$option]=1
	done < <(sed -nE 's/^(CONFIG_[^=]*)=[ym]$/\1/p' "$out/.config")
	for f; do
		[[ -v wanted[$f] ]] || wanted[$f]=$(needs_all "$f" | sort -u | tr '\n' ' ')
		[[ -n $(lacks "$f") ]] || here+=("$f")
	done
}

# All at once, as a make for each would take longer than the compiler; anew, or
# there were no warnings.
compile() {
	local objects=("${@/%.c/.o}")
	(cd "$out" && rm -f "${objects[@]}")
	kmake -k -O -j"$jobs" "${objects[@]}" >"$log" 2>&1 </dev/null || true
}

# What gcc says about file $1, wherever it is included. A warning that is about a
# macro names the file that uses it in the notes that follow. Ccache makes paths
# relative to the build directory.
said_about() {
	! sed -E "s,^($linux|\.\./linux)/,," "$log" | awk -v file="$1:" '
		/^ +[A-Z]+ / || /^In file included from / || /: In function / { first = ""; next }
		/ (warning|error): / { first = $0; said = 0 }
		first != "" && !said && index($0, file) == 1 { print first; said = 1 }' | sort -u | grep .
}

# Why the architecture can't have the option $1: a line "OPTION NAME...: reason".
why_not() {
	sed -nE "s,^$1 ([^:]* )?$machine( [^:]*)?: *,,p" "$top/ci/arch-lacks"
}

compiled() {
	local off reason
	off=$(lacks "$1" | head -n 1)
	if [[ -n $off ]]; then
		reason=$(why_not "$off")
		[[ -n $reason ]] || die "$off is off: switch it on in kernel-config/arch-$machine, or say in ci/arch-lacks why it can't be"
		say "$off: $reason"
		exit 77
	fi
	said_about "$1"
	[[ -s $out/${1%.c}.o ]] || die "there is no object: see $(rel "$log")"
}

# No warning in a header of ours, and no error anywhere.
headers_clean() {
	local h found=0
	while read -r h; do
		said_about "$h" || found=1
	done < <(touched '*.h')
	return "$found"
}

users_compiled() {
	local f missing=0
	for f; do
		[[ ! -s $out/${f%.c}.o ]] || continue
		say "$f has no object: see $(rel "$log")"
		missing=1
	done
	return "$missing"
}

# Of each object, one symbol a line: object, the module that it is part of or
# "vmlinux", "D" for defined, "E" for exported or "U" for used, the symbol.
symbols() {
	local f o command module
	for f; do
		o=$out/${f%.c}.o
		[[ -s $o ]] || continue
		command=${o%/*}/.${o##*/}.cmd
		module=vmlinux
		! grep -q -e ' -DMODULE ' "$command" ||
			module=$(sed -nE '1s/.* -D__KBUILD_MODNAME=([^ ]*) .*/\1/p' "$command")
		"${cross}nm" "$o" | awk -v o="$f" -v m="$module" '
			{ type = $(NF - 1); name = $NF }
			name ~ /^__export_symbol_/ { print o, m, "E", substr(name, 17); next }
			type == "U" { print o, m, "U", name; next }
			type ~ /[A-Z]/ { print o, m, "D", name }'
	done
}

# A helper of the compiler's, such as a 64-bit division, that the architecture does
# not have in the kernel.
no_libgcc() {
	local libgcc
	libgcc=$("${cross}gcc" -print-libgcc-file-name)
	"${cross}nm" -g --defined-only "$libgcc" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$scratch/libgcc"
	lgit grep -hoE 'EXPORT_SYMBOL(_GPL)?\([^)]*\)' -- "arch/$srcarch" lib |
		sed -E 's/.*\((.*)\)/\1/' | sort -u >"$scratch/in-kernel"
	[[ -s $scratch/libgcc ]] || die "no symbols in $libgcc"
	! awk 'NR == FNR { libgcc[$1]; next }
		$3 == "U" && $4 in libgcc { print $1 " needs " $4 " of libgcc"; }' \
		<(comm -23 "$scratch/libgcc" "$scratch/in-kernel") "$scratch/symbols" | grep .
}

# What the linker and modpost would find out. Only symbols of these files count:
# the rest of the kernel is not there.
links() {
	local ours
	ours=$(xargs -d '\n' git -C "$linux" grep -hoE 'EXPORT_SYMBOL[A-Z_]*\([A-Za-z0-9_]+' HEAD -- < <(touched '*.c') |
		sed 's/.*(//')
	! awk -v ours="$ours" '
		BEGIN { n = split(ours, names, "\n"); for (i = 1; i <= n; i++) our[names[i]] }
		NR == FNR {
			if ($3 == "D") where[$4] = $2
			if ($3 == "E") exported[$4]
			next
		}
		$3 != "U" { next }
		!($4 in where) {
			if ($4 in our)
				print $1 ": nothing defines " $4 " in this configuration"
			next
		}
		where[$4] == $2 || $4 in exported && (where[$4] == "vmlinux" || $2 != "vmlinux") { next }
		where[$4] == "vmlinux" && $2 == "vmlinux" { next }
		$2 == "vmlinux" { print $1 " is built in and uses " $4 " of the module " where[$4]; next }
		{ print $1 " of the module " $2 " uses " $4 ", which " where[$4] " does not export" }' \
		"$scratch/symbols" "$scratch/symbols" | grep .
}

one_arch() {
	local f start=$SECONDS others here
	machine=$1 arch=${arch_of[$1]-$1} cross=${cross_of[$1]-$1-linux-gnu-} out=$build/arch-$1 log=$logs/arch-$1.log
	case $arch in
	i386 | x86_64) srcarch=x86 ;;
	sparc64) srcarch=sparc ;;
	*) srcarch=$arch ;;
	esac
	stage "$2" "$3" "arch: $machine (log: $(rel "$log"))"
	mkdir -p "$out"

	ok_if "$machine: configure" configure
	mapfile -t others < <(printf '%s\n' "${users[@]}" | cat - <(map_ops) | sort -u | grep -vxF -f "$scratch/sources")
	sort_out "${others[@]}"
	others=("${here[@]}")
	sort_out "${sources[@]}"
	compile "${here[@]}" "${others[@]}"
	for f in "${sources[@]}"; do
		ok_if "$machine: W=1: $f" compiled "$f"
		[[ ! -s $out/${f%.c}.o ]] || built[$f]=1
	done
	ok_if "$machine: W=1: changed headers" headers_clean
	ok_if "$machine: ${#others[@]} users of changed headers" users_compiled "${others[@]}"
	symbols "${here[@]}" "${others[@]}" >"$scratch/symbols"
	ok_if "$machine: no 64-bit arithmetic of libgcc" no_libgcc
	ok_if "$machine: symbols are defined and exported" links
	say "# $machine: ${#here[@]} of ${#sources[@]} files and ${#others[@]} users of headers in $((SECONDS - start)) s"
}

somewhere() {
	[[ -n ${built[$1]-} ]] || die "no architecture builds it: is its option gone?"
}

machines=("${@:-${all[@]}}")
for machine in "${machines[@]}"; do
	[[ " ${all[*]} " == *" $machine "* ]] || die "arch: no architecture $machine: there are ${all[*]}"
done
lock_build
rm -rf "$scratch"
mkdir -p "$scratch" "$ktap" "$logs"
"$top/ci/tree.sh"
base=$(base_commit)
mapfile -t sources < <(touched '*.c')
printf '%s\n' "${sources[@]}" >"$scratch/sources"
mapfile -t users < <(users; page_tables)

plan=$((${#machines[@]} * (5 + ${#sources[@]})))
((${#machines[@]} < ${#all[@]})) || plan=$((plan + ${#sources[@]}))
ktap_start arch "$plan"
n=0
for machine in "${machines[@]}"; do
	n=$((n + 1))
	one_arch "$machine" "$n" "${#machines[@]}"
done
((${#machines[@]} < ${#all[@]})) || for f in "${sources[@]}"; do
	ok_if "some architecture builds $f" somewhere "$f"
done
ktap_end
