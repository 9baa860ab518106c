// SPDX-License-Identifier: GPL-2.0
/*
 * folio_write FILE DISK COUNT
 *
 * Writes 2 MiB to DISK COUNT times, each with O_DIRECT from a folio of that size in
 * the page cache of FILE, of which there are enough to be no matter of chance.  FILE
 * is made if it is not there, so that the next time that is not part of the work.
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
#include <unistd.h>

#define PAGE	4096UL
#define FOLIO	(2048 * 1024UL)
#define NR	24

/* Present bit and frame number of an entry of /proc/self/pagemap. */
#define PM_PRESENT	0x8000000000000000ULL
#define PM_PFN		0x007fffffffffffffULL

static char folio[FOLIO];

static void check_folio(int pagemap, char *p)
{
	static __u64 pfns[FOLIO / PAGE];
	unsigned long i;

	if (pread(pagemap, pfns, sizeof(pfns), (uintptr_t)p / PAGE * 8) !=
	    sizeof(pfns))
		err(1, "/proc/self/pagemap");
	for (i = 0; i < FOLIO / PAGE; i++) {
		if (!(pfns[i] & PM_PRESENT) || !(pfns[0] & PM_PFN))
			errx(1, "no frame numbers in pagemap: needs CAP_SYS_ADMIN");
		if ((pfns[i] & PM_PFN) != (pfns[0] & PM_PFN) + i ||
		    (pfns[0] & PM_PFN) % (FOLIO / PAGE))
			errx(1, "the page cache has no folio of 2 MiB here");
	}
}

static void make_file(int file)
{
	int i;

	memset(folio, 0xa5, sizeof(folio));
	for (i = 0; i < NR; i++)
		if (pwrite(file, folio, FOLIO, i * FOLIO) != (ssize_t)FOLIO)
			err(1, "cannot write the file");
	if (fsync(file))
		err(1, "fsync");
}

int main(int argc, char **argv)
{
	int file, disk, pagemap, i, count;
	char *p;

	if (argc != 4)
		errx(2, "usage: folio_write FILE DISK COUNT");
	count = atoi(argv[3]);
	file = open(argv[1], O_RDWR | O_CREAT, 0600);
	if (file < 0)
		err(1, "%s", argv[1]);
	disk = open(argv[2], O_WRONLY | O_DIRECT);
	if (disk < 0)
		err(1, "%s", argv[2]);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (pagemap < 0)
		err(1, "/proc/self/pagemap");

	if (!lseek(file, 0, SEEK_END))
		make_file(file);
	p = mmap(NULL, NR * FOLIO, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, file, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	for (i = 0; i < NR; i++)
		check_folio(pagemap, p + i * FOLIO);

	for (i = 0; i < count; i++)
		if (pwrite(disk, p + i % NR * FOLIO, FOLIO, 0) !=
		    (ssize_t)FOLIO)
			err(1, "pwrite %d", i);
	return 0;
}
