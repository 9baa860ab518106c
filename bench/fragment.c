// SPDX-License-Identifier: GPL-2.0
/*
 * fragment
 *
 * Takes most of the free memory, gives every other page of it back, and goes into
 * the background with the rest.  So whoever allocates pages next gets such as are
 * not adjacent to each other, whatever kernel this is and whatever it did before.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PAGE	4096UL
#define NR	1024

/* The frame number in an entry of /proc/self/pagemap. */
#define PM_PFN	0x007fffffffffffffULL

static char *take(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	if (madvise(p, len, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
	memset(p, 0xa5, len);
	return p;
}

/* What comes next must be as promised. */
static void check(void)
{
	char *p = take(NR * PAGE);
	__u64 pfns[NR];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	int i;

	if (fd < 0 || pread(fd, pfns, sizeof(pfns), (uintptr_t)p / PAGE * 8) !=
		      sizeof(pfns))
		err(1, "/proc/self/pagemap");
	close(fd);
	for (i = 1; i < NR; i++) {
		__u64 prev = pfns[i - 1] & PM_PFN, next = pfns[i] & PM_PFN;

		if (!next)
			errx(1, "no frame numbers in pagemap: needs CAP_SYS_ADMIN");
		if (prev + 1 == next || next + 1 == prev)
			errx(1, "pages %d and %d are adjacent", i - 1, i);
	}
	munmap(p, NR * PAGE);
}

int main(void)
{
	struct sysinfo info;
	size_t len, at;
	char *p;

	if (sysinfo(&info))
		err(1, "sysinfo");
	len = info.freeram * info.mem_unit / 4 * 3 & -PAGE;
	p = take(len);
	for (at = 0; at < len; at += 2 * PAGE)
		if (madvise(p + at, PAGE, MADV_DONTNEED))
			err(1, "MADV_DONTNEED");
	check();

	/* The child has the same pages */
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		pause();
	}
	return 0;
}
