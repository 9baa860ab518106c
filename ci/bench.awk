# Compares two files of "row instructions" lines by the contracts:
#   awk -f ci/bench.awk -v json=FILE -v misses=FILE -v dat=FILE \
#       -v base=RELEASE -v instrument=TEXT CONTRACTS MAINLINE PHYR
# Prints a line a row; json, misses and dat are written. Rows that start with
# part- break a figure down: they are compared with nothing.

function pattern(glob) {
	gsub(/[.+]/, "\\\\&", glob)
	gsub(/\*/, ".*", glob)
	return "^" glob "$"
}

function seen(row) {
	if (!(row in known)) {
		known[row]
		rows[++nr] = row
	}
}

# The number of the contract that row is under, or 0.
function contract_of(row,	c) {
	for (c = 1; c <= contracts; c++)
		if (row ~ pattern(contract[c])) {
			matched[c]
			return c
		}
	return 0
}

function miss(why) {
	print why >misses
}

# "null" is what JSON says for "-", and for a number that there is none for
function value(v) {
	return v == "-" || v == "inf" ? "null" : v
}

FILENAME != file { file = FILENAME; part++ }
part == 1 {
	sub(/#.*/, "")
	if (NF == 3) {
		contract[++contracts] = $1
		least[contracts] = $2
		floor[contracts] = $3
	} else if (NF) {
		miss("contract without three fields: " $0)
	}
	next
}
part == 2 { mainline[$1] = $2; seen($1) }
part == 3 { phyr[$1] = $2; seen($1) }

END {
	printf "" >misses
	printf "{\n\"base\": \"%s\",\n\"instrument\": \"%s\",\n\"rows\": [", base, instrument >json
	print "# name call shape what ranges mainline phyr floor" >dat
	for (i = 1; i <= nr; i++) {
		row = rows[i]
		is_part = row ~ /^part-/
		m = row in mainline ? mainline[row] : "-"
		p = row in phyr ? phyr[row] : "-"
		c = is_part ? 0 : contract_of(row)
		l = c ? least[c] : "-"
		f = c ? floor[c] : "-"
		ratio = m != "-" && p > 0 ? m / p : "-"
		# nothing is as fast as nothing, and infinitely less than something
		if (m != "-" && p != "-" && p == 0)
			ratio = m > 0 ? "inf" : 1
		shown = ratio == "-" || ratio == "inf" ? ratio : sprintf("%.2f", ratio)
		ok = is_part || ratio == "inf" || (ratio != "-" && ratio >= l + 0)
		printf "bench: %s mainline=%s phyr=%s ratio=%s floor=%s\n", row, m, p, shown, f
		printf("%s\n{\"row\": \"%s\", \"mainline\": %s, \"phyr\": %s, \"ratio\": %s, \"floor\": %s, \"contract\": %s, \"ok\": %s}",
			i == 1 ? "" : ",", row, value(m), value(p), value(shown), value(f), value(l), ok ? "true" : "false") >json
		if (!is_part && (m == "-" || p == "-"))
			miss(row ": not measured " (m == "-" ? "on mainline" : "with the series"))
		else if (!ok)
			miss(sprintf("%s: %d against %d is %.3fx, at least %s is asked", row, p, m, ratio, l))
		if (split(row, w, "-") == 5 && !is_part)
			print w[1], w[2], w[3], w[4], w[5], m, p, f >dat
		else if (w[4] == "both")
			print w[1], w[2], w[3], w[4], "-", m, p, f >dat
	}
	print "\n]\n}" >json
	for (c = 1; c <= contracts; c++)
		if (!(c in matched))
			miss(contract[c] ": no row for this contract")
}
