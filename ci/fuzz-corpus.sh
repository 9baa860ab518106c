#!/usr/bin/env bash
# Makes fuzz/corpus/found anew: as few and as short inputs as run all code that it,
# fuzz/corpus/kept and what the fuzzer has found since, in build/fuzz/found, do. To be
# run when the fuzzer has found much, or what inputs mean has changed. What is in
# kept was put there for what it does, and stays.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

found=$top/fuzz/corpus/found
kept=$top/fuzz/corpus/kept
out=$build/fuzz
new=$out/corpus
log=$logs/fuzz-corpus.log

lock_build
"$top/ci/tree.sh"
mkdir -p "$out/found" "$logs"
rm -rf "$new"
mkdir "$new"
run_logged "$log" make -C "$linux/tools/testing/phyr" O="$out" fuzz ||
	die "fuzz-corpus: tools/testing/phyr does not build: see $(rel "$log")"
stage 1 1 "merging (log: $(rel "$log"))"
run_logged "$log" "$out/phyr-fuzz" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$new" "$found" "$kept" "$out/found" ||
	die "fuzz-corpus: an input fails: run ci/fuzz.sh, and see $(rel "$log")"
rm -rf "$found"
mv "$new" "$found"
say "fuzz/corpus/found: $(find "$found" -type f | wc -l) inputs"
