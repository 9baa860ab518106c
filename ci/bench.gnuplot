# build/bench.dat -> SVG on stdout: what a scattered 4K range costs, and what it costs
# to pin memory. Nothing in the picture depends on the day or the machine.
set terminal svg size 1360,480 font "sans-serif,13" background "white"
set datafile missing "-"
set multiplot layout 1,3
set logscale x 2
set logscale y 10
set xrange [0.8:1300]
set yrange [10:5000]
set xtics (1, 2, 8, 32, 128, "" 256, 1024)
set xlabel "ranges in one mapping"
set ylabel "instructions a range"
set grid ytics lt 1 lc rgb "#dddddd"
set key outside bottom center vertical maxrows 4 Left reverse
set bmargin 8
set xlabel offset 0,0.5

rows(name, call) = sprintf("< grep '^%s %s 4k map ' build/bench.dat", name, call)

do for [panel in "vtd amd"] {
	set title (panel eq "vtd" ? "Intel VT-d, strict" : "AMD IOMMU, strict")
	plot rows(panel, "vecs") using 5:($6 / $5) with linespoints lw 2 pt 7 ps 0.5 lc rgb "#999999" title "mainline, dma\\_iova\\_link() each", \
		rows(panel, "phyr") using 5:($7 / $5) with linespoints lw 2 pt 7 ps 0.5 lc rgb "#d95f02" title "phyr, dma\\_map\\_phyr()", \
		rows(panel, "vecs") using 5:($7 / $5) with linespoints lw 2 pt 7 ps 0.5 lc rgb "#1b6ca8" title "phyr, dma\\_iova\\_link\\_vecs()", \
		rows(panel, "vecs") using 5:($8 / $5) with points pt 2 ps 1 lw 2 lc rgb "#000000" title "floor"
}

# Both ways: pin and unpin, register and deregister, map and unmap.
both(call, memory, mib, label) = sprintf("awk '$2 == \"%s\" && $3 == \"%s\" && $4 == \"both\" && $1 !~ /amd|direct/ { print \"\\\"%s\\\"\", $6 / %d, $7 / %d }' build/bench.dat; ", call, memory, label, mib, mib)

set title "Memory of a program, and VT-d"
unset logscale x
unset xrange
set yrange [10:1000000]
set xtics autofreq rotate by 35 right nomirror
unset xlabel
set ylabel "instructions a MiB, both ways"
set style data histograms
set style histogram clustered gap 1
set style fill solid border -1
bars = "< ".both("range", "4k", 256, "pin: 4K").both("range", "64k", 256, "pin: 64K").both("range", "thp", 256, "pin: THP").both("mr", "4k_scattered", 256, "MR: 4K").both("mr", "thp", 1024, "MR: THP").both("iommufd", "4k_scattered", 256, "iommufd: 4K").both("iommufd", "thp", 1024, "iommufd: THP")
plot bars using 2:xtic(1) lc rgb "#999999" title "mainline", \
	bars using 3 lc rgb "#1b6ca8" title "phyr"
