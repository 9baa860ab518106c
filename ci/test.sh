#!/usr/bin/env bash
# Runs every step, whatever the step before it did, and adds up the results
# with the kernel's own KTAP parser. The last line is the sum.
#   ci/test.sh         what fits into an hour
#   ci/test.sh --all   the gates that take longer as well

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

steps=(packages tree check docs fuzz unit arch-x86_64 boot guest-tests)
case ${1-} in
'') ;;
--all)
	# of all architectures x86_64 is one
	steps=("${steps[@]/arch-x86_64/arch}" mail coccicheck unit-i386 unit-i386-pae bench arm64 debug coverage bisect)
	;;
*) die "test: unknown option $1: --all is known" ;;
esac
passed=0 failed=0 skipped=0

# The command of each step.
run_step() {
	case $1 in
	packages) "$top/ci/install-packages.sh" packages packages-gates ;;
	unit-*) "$top/ci/unit.sh" "${1#unit-}" ;;
	arch-*) "$top/ci/arch.sh" "${1#arch-}" ;;
	bench) "$top/ci/bench.sh" --check ;;
	fuzz) FUZZ_SECONDS=${FUZZ_SECONDS:-60} "$top/ci/fuzz.sh" ;;
	*) "$top/ci/$1.sh" ;;
	esac
}

# How many of the tests in the KTAP file: field NAME of the parser's last line.
field() {
	sed -n "s/.*Testing complete\\..* $1: \\([0-9]*\\).*/\\1/p" "$2" | tail -n 1 | grep . || echo 0
}

# What each test that has failed has said just before.
reasons() {
	awk '/^ *# / { said = said $0 "\n"; next }
		/^ *not ok / { printf "%s%s\n", said, $0 }
		{ said = "" }' "$1"
}

# add KTAP-FILE: the parser's verdict. A crash or an error in the stream, such
# as a test that was announced and did not come, is a failure.
add() {
	local file=$1 name out p f s
	name=$(basename "$file" .ktap)
	out=$logs/parse-$name.log
	"$linux/tools/testing/kunit/kunit.py" parse "$file" >"$out" 2>&1 </dev/null || true
	p=$(field passed "$out")
	f=$(($(field failed "$out") + $(field crashed "$out") + $(field errors "$out")))
	s=$(field skipped "$out")
	if ((p + f + s == 0)); then
		say "  $(rel "$file") has no results"
		f=1
	fi
	# Which ones, for whoever reads only this far.
	if ((f)); then
		grep -E '\[(FAILED|ERROR|CRASHED)\]' "$out" | sed 's/^\[[0-9:]*\] /  /' | sort -u | head -n 20 || true
		reasons "$file" | sed 's/^ */  | /' | head -n 40 || true
		{ say "$name:" && reasons "$file" | sed 's/^ */  | /' | tail -n 15; } >>"$logs/test-failures.log"
	fi
	printf '  %-22s %4d passed, %d failed, %d skipped\n' "$name" "$p" "$f" "$s"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	files=$((files + 1)) file_failed=$((file_failed + f))
}

# What a step says about how far it is, and nothing else of it.
progress() {
	grep --line-buffered -E '^\[[0-9]+/[0-9]+\] |files built|^  guest: |^  fuzz: |^(ok|not ok) |Building KUnit|^boot: |^tree: ' |
		sed -u 's/^ */    /' || true
}

# The KTAP files that are there now and were not before this step.
add_new() {
	local file
	for file in "$ktap"/*.ktap; do
		if [[ -f $file && -z ${seen[$file]-} ]]; then
			seen[$file]=1
			add "$file"
		fi
	done
}

# Each step: its output goes to a log, its results are added.
step() {
	local n=$1 name=$2 log=$logs/test-$2.log status=0 start=$SECONDS files=0 file_failed=0 verdict=ok
	stage "$n" "${#steps[@]}" "$name (log: $(rel "$log"))"
	run_step "$name" </dev/null 2>&1 | tee "$log" | progress || status=$?
	add_new
	case $name in
	packages | tree | boot | bench) ;;
	*) ((files)) || status=1 ;;
	esac
	# A step that died has failed even if all that it had to say was good, and
	# so has one that had nothing to say.
	if ((status && !file_failed)); then
		tail -n 20 "$log" | sed 's/^/  | /'
		failed=$((failed + 1))
	fi
	((status + file_failed == 0)) || verdict=FAILED
	say "  $verdict in $((SECONDS - start)) s"
}

lock_build
declare -A seen=()
rm -rf "$ktap"
mkdir -p "$ktap"
: >"$logs/test-failures.log"
for i in "${!steps[@]}"; do
	step $((i + 1)) "${steps[i]}"
done
# Once more, for whoever sees no more than the end.
tail -n 60 "$logs/test-failures.log"
if ((passed + failed == 0)); then
	say "error: test: nothing was run"
	failed=1
fi
say "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
