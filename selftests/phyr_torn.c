// SPDX-License-Identifier: GPL-2.0
/*
 * phyr_torn DISK BLOCK PART
 *
 * Reads two blocks of a disk, with O_DIRECT, into a buffer of which all but the
 * first BLOCK + PART bytes can't be written to.  So the kernel pins more than it
 * can use, a page of a huge page more, and has to let go of that.  Says how many
 * pins are left.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "phyr_pins.h"

#define PAGE		4096UL
#define HUGE_PAGE	(2UL << 20)

static void check_huge(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	unsigned long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "AnonHugePages: %lu", &kib);
	if (kib < HUGE_PAGE / 1024)
		errx(1, "no huge page");
	fclose(f);
}

static long long pins(void)
{
	struct pins pins = read_pins();

	return pins.acquired - pins.released;
}

int main(int argc, char **argv)
{
	unsigned long block, part;
	struct iovec iov[2];
	long long before;
	ssize_t ret;
	char *p;
	int fd;

	if (argc != 4)
		errx(1, "usage: phyr_torn DISK BLOCK PART");
	block = strtoul(argv[2], NULL, 0);
	part = strtoul(argv[3], NULL, 0);
	if (!part || part >= block || block > PAGE)
		errx(1, "the part has to be less than a block, and that at most a page");
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s", argv[1]);

	p = mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	p += -(unsigned long)p & (HUGE_PAGE - 1);
	if (madvise(p, HUGE_PAGE, MADV_HUGEPAGE))
		err(1, "MADV_HUGEPAGE");
	memset(p, 1, HUGE_PAGE);
	check_huge();

	/* the block ends with a page, and what is left is in the next one */
	iov[0].iov_base = p + PAGE - block;
	iov[0].iov_len = block + part;
	iov[1].iov_base = mmap(NULL, PAGE, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	iov[1].iov_len = block - part;

	before = pins();
	ret = preadv(fd, iov, 2, 0);
	/* the part comes from the page cache then */
	if (ret != (ssize_t)(block + part))
		err(1, "preadv: %zd instead of %lu bytes", ret, block + part);
	if (pins() != before)
		errx(1, "%lld pages stay pinned", pins() - before);
	return 0;
}
