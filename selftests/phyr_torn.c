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

/* All of @len bytes come, the last of them from the page cache. */
static void read_torn(int fd, const struct iovec *iov, int nr, size_t len)
{
	long long before = pins();
	ssize_t ret;

	ret = preadv(fd, iov, nr, 0);
	if (ret != (ssize_t)len)
		err(1, "preadv: %zd instead of %zu bytes", ret, len);
	if (pins() != before)
		errx(1, "%lld pages stay pinned", pins() - before);
}

static void *one_page(int prot)
{
	void *p = mmap(NULL, PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

int main(int argc, char **argv)
{
	unsigned long block, part;
	struct iovec iov[3];
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
	iov[1].iov_base = one_page(PROT_NONE);
	iov[1].iov_len = block - part;
	read_torn(fd, iov, 2, block + part);

	/* the same, and as much in a page of its own: all of that is too much */
	if (2 * part < block) {
		iov[2].iov_base = iov[1].iov_base;
		iov[2].iov_len = block - 2 * part;
		iov[1].iov_base = one_page(PROT_READ | PROT_WRITE);
		iov[1].iov_len = part;
		read_torn(fd, iov, 3, block + 2 * part);
	}
	return 0;
}
