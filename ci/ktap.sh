# shellcheck shell=bash disable=SC2154
# Shared by the gates that speak KTAP, on stdout and in build/log/ktap/NAME.ktap;
# details are lines that start with #. Wants ci/lib.sh.

# ktap_start NAME TESTS: how many there will be.
ktap_start() {
	gate=$1 tests=0 failures=0
	result=$ktap/$1.ktap
	mkdir -p "$ktap"
	say "KTAP version 1" | tee "$result"
	report "1..$2"
}

report() {
	say "$*" | tee -a "$result"
}

# verdict NAME STATUS [WHY]: one test, which is skipped if the status is 77.
verdict() {
	tests=$((tests + 1))
	if (($2 == 0)); then
		report "ok $tests $1"
	elif (($2 == 77)); then
		report "ok $tests $1 # SKIP ${3%%$'\n'*}"
	else
		failures=$((failures + 1))
		[[ -z ${3-} ]] || tail -n 40 <<<"$3" | sed 's/^/# /' | tee -a "$result"
		report "not ok $tests $1"
	fi
}

# ok_if NAME COMMAND...: one test; what a failing command says is shown.
ok_if() {
	local name=$1 said status
	shift
	# A shell of its own, which stops at its first error: with ||, it would not.
	set +e
	said=$(
		set -e
		"$@" 2>&1 </dev/null
	)
	status=$?
	set -e
	verdict "$name" "$status" "$said"
}

# silent COMMAND...: for ok_if, fails if the command says anything.
silent() {
	local said status=0
	said=$("$@" 2>&1) || status=$?
	[[ $said || $status != 0 ]] || return 0
	say "${said:-status $status}"
	((status)) || status=1
	return "$status"
}

# The last line of a gate.
ktap_end() {
	((failures == 0)) || die "$gate: $failures of $tests failed: the lines before each \"not ok\" say why"
}
