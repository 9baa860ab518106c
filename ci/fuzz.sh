#!/usr/bin/env bash
# Fuzzes lib/phyr.c in user space: first the inputs of fuzz/corpus, then such as
# libFuzzer makes up, for FUZZ_SECONDS. Speaks KTAP, on stdout and in
# build/log/ktap/fuzz.ktap. What is found beyond the corpus stays in build/fuzz.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

seconds=${FUZZ_SECONDS:-600}
source=$linux/tools/testing/phyr
corpus=$top/fuzz/corpus
out=$build/fuzz
replay_log=$logs/fuzz-replay.log
fuzz_log=$logs/fuzz.log

# The lines of LOG that say what went wrong, as KTAP has them.
why() {
	{ grep -aE '^BUG: |ERROR: |runtime error: ' "$1" || tail -n 5 "$1"; } |
		head -n 10 | sed 's/^/# /' | tee -a "$result"
}

compile() {
	run_logged "$logs/fuzz-build.log" make -C "$source" O="$out" "$@" ||
		die "fuzz: tools/testing/phyr does not build: mend it, or install clang and libclang-rt-dev"
}

replay() {
	local status=0 crash
	"$out/phyr-replay" -v "$corpus" >"$replay_log" 2>&1 </dev/null || status=$?
	((status == 0)) || {
		why "$replay_log"
		crash=$(grep -a "^$corpus/" "$replay_log" | tail -n 1)
		report "# reproduce it with: build/fuzz/phyr-replay $(rel "$crash")"
	}
	report "# $(sed -n 's/^inputs: //p' "$replay_log") inputs"
	verdict replay "$status"
}

# has_compared NAME LOG: a program that compares nothing finds nothing.
has_compared() {
	local n
	n=$(sed -n 's/^ranges compared: //p' "$2" | tail -n 1)
	report "# ${n:-0} ranges"
	verdict "$1" $((${n:-0} == 0))
}

# What the fuzzer said last, while it runs.
progress() {
	local start=$SECONDS
	while sleep 15 && kill -0 "$1" 2>/dev/null; do
		say "  fuzz: $((SECONDS - start))/$seconds s, $(grep -aoE '^#[0-9]+|cov: [0-9]+' "$fuzz_log" | tail -n 2 | paste -sd ' ')"
	done
}

# It adds what is new to the first directory, and takes the other one as it is.
fuzz() {
	local status=0 pid crash
	mkdir -p "$out/found"
	timeout $((seconds + 300)) "$out/phyr-fuzz" -max_total_time="$seconds" -max_len=1024 \
		-len_control=5 -timeout=60 -artifact_prefix="$out/" "$out/found" "$corpus" \
		>"$fuzz_log" 2>&1 </dev/null &
	pid=$!
	progress "$pid"
	wait "$pid" || status=$?
	if ((status)); then
		why "$fuzz_log"
		crash=$(sed -n 's/.*Test unit written to //p' "$fuzz_log" | tail -n 1)
		[[ -z $crash ]] ||
			report "# reproduce it with: build/fuzz/phyr-replay $(rel "$crash"), and keep it in fuzz/corpus/kept once it is mended"
	fi
	verdict fuzz "$status"
}

[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "fuzz: FUZZ_SECONDS=$seconds is no number of seconds: give one"
command -v clang >/dev/null || die "fuzz: no clang: install clang and libclang-rt-dev, or run make fuzz, which does"
lock_build
"$top/ci/tree.sh"
[[ -f $source/fuzz.c ]] || die "fuzz: the series has no tools/testing/phyr: apply it"
mkdir -p "$out" "$ktap" "$logs"
ktap_start fuzz 4

stage 1 3 "compiling (log: $(rel "$logs/fuzz-build.log"))"
compile all fuzz
stage 2 3 "replaying fuzz/corpus (log: $(rel "$replay_log"))"
replay
has_compared replay-compares-ranges "$replay_log"
stage 3 3 "fuzzing for $seconds s (log: $(rel "$fuzz_log"))"
fuzz
has_compared fuzz-compares-ranges "$fuzz_log"

ktap_end
