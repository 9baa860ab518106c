# What of the lines that the series adds was run: reads the added lines, as FILE:LINE, and
# then trace files of lcov with absolute names below TREE/.
#   awk -v tree=TREE -v lines=95 -v branches=85 -v info=OUT -f ci/coverage.awk ADDED INFO...
# Prints a table of files, the lines and branches that were not run, and the gate.
# OUT is a trace file with the added lines only, for genhtml.
#
# A file is in many records: one for each object that it was compiled into (a header, a
# page table format), each program or kernel with that object, and each run. These are
# merged: a line was run if any object ran it, the nth branch of a line was taken if any
# took its nth. Objects that count compile nothing inline before they count, so the nth
# branch is the same one in each (see count_options in ci/lib.sh), but for those of the page
# tables, where a function that always is inline has a copy for each level.

# percent HIT FOUND
function percent(hit, found) {
	return found ? 100 * hit / found : 100
}

# 12-14,20 of the words of a list, which are in order
function ranges(list,    n, w, i, out, first) {
	n = split(list, w, " ")
	for (i = 1; i <= n; i++) {
		first = w[i]
		while (i < n && w[i + 1] == w[i] + 1)
			i++
		out = out (out ? "," : "") (first == w[i] ? first : first "-" w[i])
	}
	return out
}

FNR == NR {
	split($1, part, ":")
	if (!count[part[1]]++) order[++files] = part[1]
	added[$1] = 1
	at[part[1], count[part[1]]] = part[2]
	next
}

/^SF:/ {
	file = substr($0, 4)
	if (index(file, tree "/") == 1)
		file = substr(file, length(tree) + 2)
	next
}

/^DA:/ {
	split(substr($0, 4), d, ",")
	if ((file ":" d[1]) in added)
		runs[file ":" d[1]] += d[2]
}

# A branch of a line that never ran is not taken, too: "-".
/^BRDA:/ {
	split(substr($0, 6), b, ",")
	where = file ":" b[1]
	if (where in added) {
		if (b[3] >= sides[where]) sides[where] = b[3] + 1
		taken[where, b[3]] += b[4]
	}
}

END {
	printf "%-44s %15s %8s %15s %8s\n", "file", "lines", "", "branches", ""
	for (i = 1; i <= files; i++) {
		f = order[i]
		lf = lh = bf = bh = 0
		text = missing = partial = ""
		for (j = 1; j <= count[f]; j++) {
			where = f ":" at[f, j]
			if (!(where in runs)) continue
			lf++
			if (runs[where]) lh++
			else missing = missing " " at[f, j]
			text = text "DA:" at[f, j] "," runs[where] "\n"
			half = 0
			for (k = 0; k < sides[where]; k++) {
				bf++
				if (taken[where, k]) bh++
				else half = 1
				text = text "BRDA:" at[f, j] ",0," k "," taken[where, k] + 0 "\n"
			}
			if (half) partial = partial " " at[f, j]
		}
		if (!lf) {
			nowhere = nowhere "in no kernel here: " f ": " count[f] " lines added\n"
			continue
		}
		printf "%-44s %7d of %4d %7.1f%% %7d of %4d %7.1f%%\n", f, lh, lf,
			percent(lh, lf), bh, bf, percent(bh, bf)
		LF += lf; LH += lh; BF += bf; BH += bh
		printf "SF:%s/%s\n%sLF:%d\nLH:%d\nBRF:%d\nBRH:%d\nend_of_record\n",
			tree, f, text, lf, lh, bf, bh >info
		if (missing) rest = rest "not run: " f ": " ranges(missing) "\n"
		if (partial) rest = rest "a branch not taken: " f ": " ranges(partial) "\n"
	}
	printf "%-44s %7d of %4d %7.1f%% %7d of %4d %7.1f%%\n\n%s%s", "all", LH, LF,
		percent(LH, LF), BH, BF, percent(BH, BF), rest, nowhere
	printf "lines %.2f %d\n", percent(LH, LF), (LF && percent(LH, LF) >= lines)
	printf "branches %.2f %d\n", percent(BH, BF), (BF && percent(BH, BF) >= branches)
}
