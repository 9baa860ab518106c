# Puts the figures of `make bench` into the tables of the cover letter:
#   awk -f ci/cover.awk FIGURES cover-letter.txt
# FIGURES has "row mainline phyr" lines. A table goes from its head to the next
# empty line, and is made anew.

function ranges(label, row,	i, f, n, counts) {
	n = split("1 2 8 256", counts)
	for (i = 1; i <= n; i++) {
		split(figure[row "-map-" counts[i]], f)
		printf "  %-35s%5d%10d%10d%9.2f\n", i == 1 ? label : "",
			counts[i], f[1], f[2], f[1] / f[2]
	}
}

function an_io(row,	i, f, n, modes, line) {
	n = split("vtd amd direct", modes)
	line = sprintf("  %-21s", row)
	for (i = 1; i <= n; i++) {
		if (split(figure[modes[i] "-io-" row], f) < 2)
			f[1] = f[2] = "-"
		line = line sprintf(i == 1 ? "%8s%8s" : "%11s%8s", f[1], f[2])
	}
	print line
}

function pins(label, row,	f) {
	split(figure["gup-range-" row "-both"], f)
	printf "  %-32s%14d%15d%9.2f\n", label, f[1], f[2], f[1] / f[2]
}

# The first n kinds of memory that a program has, registered or mapped with each kind
# of IOMMU, in thousands.
function users(label, call, n,	i, j, f, m, modes, memory, what, line) {
	split("thp hugetlb 64k 4k_scattered 4k_single", memory)
	split("THP, 1 GiB;hugetlb, 2M;folios of 64K;4K, scattered;a page", what, ";")
	m = split(call == "mr" ? "vtd amd direct" : "vtd amd", modes)
	for (i = 1; i <= n; i++) {
		line = sprintf("  %-22s", label ": " what[i])
		for (j = 1; j <= m; j++) {
			split(figure[modes[j] "-" call "-" memory[i] "-both"], f)
			line = line sprintf("%9.1f%9.1f", f[1] / 1000, f[2] / 1000)
		}
		print line
	}
}

function xen(label, what,	f) {
	split(figure["xen-" what "-write-2m-folio"], f)
	printf "  %-32s%14d%15d\n", label, f[1], f[2]
}

FILENAME != file { file = FILENAME; part++ }
part == 1 { figure[$1] = $2 " " $3; next }
/^$/ { in_table = 0 }
in_table { next }
{ print }
/^ +N +mainline +phyr +times$/ {
	in_table = 1
	ranges("array into one IOVA range, VT-d", "vtd-vecs-4k")
	ranges("the same, AMD", "amd-vecs-4k")
	ranges("dma_map_vecs(), no IOMMU", "direct-vecs-4k")
	ranges("dma_map_phyr() from bvecs, VT-d", "vtd-phyr-4k")
	ranges("the same, AMD", "amd-phyr-4k")
	ranges("the same, no IOMMU", "direct-phyr-4k")
	ranges("dma_map_phyr() of MMIO, VT-d", "vtd-mmio-4k")
	ranges("the same, AMD", "amd-mmio-4k")
	ranges("the same, no IOMMU", "direct-mmio-4k")
	ranges("blk_rq_dma_map_iter_*(), VT-d", "vtd-blk-4k")
	ranges("the same, AMD", "amd-blk-4k")
	ranges("the same, no IOMMU", "direct-blk-4k")
	ranges("dma_map_sg(), VT-d", "vtd-sg-4k")
	ranges("the same, AMD", "amd-sg-4k")
	ranges("blk_rq_map_sg()", "direct-rq_map_sg-4k")
}
/^ +VT-d +AMD +no IOMMU$/ {
	in_table = 1
	an_io("randread-4k")
	an_io("read-128k")
	an_io("read-1m")
	an_io("read-128k-huge")
	an_io("read-1m-huge")
	an_io("write-1m-thp")
	an_io("writev-1m")
	an_io("writev-1m-ahci")
	an_io("writev-1m-virtio-blk")
	an_io("writev-1m-virtio-scsi")
}
/^ +memory +array +struct phyr +times$/ {
	in_table = 1
	pins("transparent huge pages", "thp")
	pins("the same, FOLL_LONGTERM", "thp_longterm")
	pins("hugetlb, 2M", "hugetlb")
	pins("folios of 64K", "64k")
	pins("pages of 4K", "4k")
	pins("pages of 4K, scattered", "4k_scattered")
}
/^ +pinned and mapped +VT-d +AMD +no IOMMU$/ {
	in_table = 1
	users("MR", "mr", 5)
	users("iommufd", "iommufd", 5)
	users("type1", "type1", 1)
}
/^ +a folio of 2 MiB +mainline +phyr$/ {
	in_table = 1
	xen("bytes bounced", "bounced")
	xen("instructions", "io")
}
