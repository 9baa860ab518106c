// SPDX-License-Identifier: GPL-2.0
/*
 * scatter_write DISK COUNT
 *
 * Writes 1 MiB COUNT times with O_DIRECT, each by one pwritev() of 256 pages of
 * which no two neighbours are physically adjacent.
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

int main(int argc, char **argv)
{
	int fd, i, count;

	if (argc != 3)
		errx(2, "usage: scatter_write DISK COUNT");
	count = atoi(argv[2]);
	fd = open(argv[1], O_WRONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s", argv[1]);
	scatter();
	for (i = 0; i < count; i++)
		if (pwritev(fd, iov, NR, i % WRAP * NR * PAGE) != NR * PAGE)
			err(1, "pwritev %d", i);
	return 0;
}
