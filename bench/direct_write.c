// SPDX-License-Identifier: GPL-2.0
/*
 * direct_write DISK scattered|thp COUNT
 *
 * Writes 1 MiB COUNT times with O_DIRECT, each by one pwritev(): of 256 pages of
 * which no two neighbours are physically adjacent, or from one transparent huge page.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE	4096UL
#define NR	256
#define WRAP	64
#define HUGE	(2048 * 1024UL)

/* Present bit and frame number of an entry of /proc/self/pagemap. */
#define PM_PRESENT	0x8000000000000000ULL
#define PM_PFN		0x007fffffffffffffULL

static struct iovec iov[NR];

/* Picks every page that does not touch the one picked before, of three times as many. */
static void scatter(void)
{
	static __u64 pfns[3 * NR];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	__u64 last = 0;
	int i, nr = 0;
	char *p;

	p = mmap(NULL, sizeof(pfns) / 8 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	if (madvise(p, sizeof(pfns) / 8 * PAGE, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
	memset(p, 0xa5, sizeof(pfns) / 8 * PAGE);
	if (fd < 0 || pread(fd, pfns, sizeof(pfns), (uintptr_t)p / PAGE * 8) !=
		      sizeof(pfns))
		err(1, "/proc/self/pagemap");
	close(fd);

	for (i = 0; i < 3 * NR && nr < NR; i++) {
		__u64 pfn = pfns[i] & PM_PFN;

		if (!(pfns[i] & PM_PRESENT) || !pfn)
			errx(1, "no frame numbers in pagemap: needs CAP_SYS_ADMIN");
		if (nr && (pfn == last + 1 || pfn + 1 == last))
			continue;
		last = pfn;
		iov[nr].iov_base = p + i * PAGE;
		iov[nr].iov_len = PAGE;
		nr++;
	}
	if (nr < NR)
		errx(1, "too many pages are adjacent");
}

/* A huge page is as long as its alignment. */
static void huge(void)
{
	char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char line[256];
	unsigned long kib = 0;
	FILE *f;

	if (p == MAP_FAILED)
		err(1, "mmap");
	p += -(uintptr_t)p & (HUGE - 1);
	if (madvise(p, HUGE, MADV_HUGEPAGE))
		err(1, "MADV_HUGEPAGE");
	memset(p, 0xa5, HUGE);
	f = fopen("/proc/self/smaps_rollup", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "AnonHugePages: %lu", &kib);
	if (kib < HUGE / 1024)
		errx(1, "no huge page");
	iov[0].iov_base = p;
	iov[0].iov_len = NR * PAGE;
}

int main(int argc, char **argv)
{
	int fd, i, count, nr = NR;

	if (argc != 4)
		errx(2, "usage: direct_write DISK scattered|thp COUNT");
	count = atoi(argv[3]);
	fd = open(argv[1], O_WRONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s", argv[1]);
	if (strcmp(argv[2], "thp")) {
		scatter();
	} else {
		huge();
		nr = 1;
	}
	for (i = 0; i < count; i++)
		if (pwritev(fd, iov, nr, i % WRAP * NR * PAGE) != NR * PAGE)
			err(1, "pwritev %d", i);
	return 0;
}
