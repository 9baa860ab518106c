// SPDX-License-Identifier: GPL-2.0
/*
 * Copies a range between a file and a block device, with O_DIRECT on the
 * device, through buffers whose physical layout is chosen and checked. Each
 * step is one preadv() and one pwritev() over the same buffers. The data itself
 * is not looked at: fio writes it before and verifies it after.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE		4096UL
#define HUGE_PAGE	(2UL << 20)
#define POISON		0xa5

/* Bits of an entry of /proc/self/pagemap. */
#define PM_PRESENT	0x8000000000000000ULL
#define PM_PFN		0x007fffffffffffffULL

static struct iovec iov[IOV_MAX];
static __u64 pfns[IOV_MAX];
static int nr_iov;

static __u64 pfn_of(const void *addr)
{
	static int fd = -1;
	__u64 entry;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		err(1, "/proc/self/pagemap");
	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)addr / PAGE * sizeof(entry)) != sizeof(entry))
		err(1, "/proc/self/pagemap");
	if (!(entry & PM_PRESENT))
		errx(1, "a buffer page is not present");
	if (!(entry & PM_PFN))
		errx(1, "no frame numbers in pagemap: needs CAP_SYS_ADMIN");
	return entry & PM_PFN;
}

static char *map(size_t len, int flags)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap of %zu bytes", len);
	return p;
}

static bool adjacent(__u64 a, __u64 b)
{
	return a == b + 1 || b == a + 1;
}

static void add(char *base, size_t len)
{
	iov[nr_iov].iov_base = base;
	iov[nr_iov].iov_len = len;
	pfns[nr_iov] = pfn_of(base);
	nr_iov++;
}

/*
 * @nr parts of @len bytes, each at @offset in a page of its own, where no two
 * neighbours are physically adjacent. Picked from twice as many pages.
 */
static void scatter(unsigned long nr, size_t offset, size_t len)
{
	unsigned long i, pages = 2 * nr;
	char *p = map(pages * PAGE, 0);
	bool *used = calloc(pages, sizeof(*used));

	if (!used)
		err(1, "calloc");
	if (madvise(p, pages * PAGE, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
	memset(p, POISON, pages * PAGE);

	while ((unsigned long)nr_iov < nr) {
		for (i = 0; i < pages; i++) {
			if (used[i])
				continue;
			if (!nr_iov || !adjacent(pfn_of(p + i * PAGE),
						 pfns[nr_iov - 1]))
				break;
		}
		if (i == pages)
			errx(1, "no page left that is not adjacent");
		used[i] = true;
		add(p + i * PAGE + offset, len);
	}
	free(used);
}

/* One buffer of @len bytes that starts at @offset in its first page. */
static void plain(size_t offset, size_t len)
{
	char *p = map(len + PAGE, 0);

	memset(p, POISON, len + PAGE);
	add(p + offset, len);
}

static void check_huge(const char *p)
{
	__u64 first = pfn_of(p);
	unsigned long i;

	if (first % (HUGE_PAGE / PAGE))
		errx(1, "the buffer does not start a huge page");
	for (i = 1; i < HUGE_PAGE / PAGE; i++)
		if (pfn_of(p + i * PAGE) != first + i)
			errx(1, "the buffer is not one huge page");
}

/* The AnonHugePages of the mapping that starts at @p, in KiB. */
static unsigned long anon_huge_kib(const char *p)
{
	unsigned long start, kib = 0;
	bool inside = false;
	char line[256];
	FILE *f;

	f = fopen("/proc/self/smaps", "r");
	if (!f)
		err(1, "/proc/self/smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-", &start) == 1 && strchr(line, '-'))
			inside = start <= (uintptr_t)p &&
				 strtoul(strchr(line, '-') + 1, NULL, 16) >
				 (uintptr_t)p;
		if (inside && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
			break;
	}
	fclose(f);
	return kib;
}

/* One buffer that is one transparent or one hugetlb page. */
static void one_huge_page(bool hugetlb)
{
	char *p;

	if (hugetlb) {
		p = map(HUGE_PAGE, MAP_HUGETLB);
	} else {
		p = map(2 * HUGE_PAGE, 0);
		p += -(uintptr_t)p % HUGE_PAGE;
		if (madvise(p, HUGE_PAGE, MADV_HUGEPAGE))
			err(1, "MADV_HUGEPAGE");
	}
	memset(p, POISON, HUGE_PAGE);
	check_huge(p);
	if (!hugetlb && anon_huge_kib(p) != HUGE_PAGE >> 10)
		errx(1, "the buffer is not a transparent huge page");
	add(p, HUGE_PAGE);
}

/* One buffer that is the start of a file, which is there in large folios. */
static void file(const char *path, size_t len)
{
	int fd = open(path, O_RDWR);
	unsigned long joined = 0;
	size_t i;
	char *p;

	if (fd < 0)
		err(1, "%s", path);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		 0);
	if (p == MAP_FAILED)
		err(1, "mmap of %s", path);
	memset(p, POISON, len);
	for (i = PAGE; i < len; i += PAGE)
		joined += pfn_of(p + i) == pfn_of(p + i - PAGE) + 1;
	if (joined < len / PAGE / 2)
		errx(1, "%s has no large folios: %lu of %lu pages adjacent", path,
		     joined, len / PAGE);
	add(p, len);
}

/* Migration between the first look and the I/O would void the layout. */
static void check_not_moved(void)
{
	int i;

	for (i = 0; i < nr_iov; i++)
		if (pfn_of(iov[i].iov_base) != pfns[i])
			errx(1, "buffer page %d moved during the I/O", i);
}

static int open_direct(const char *path, int flags)
{
	struct stat st;
	int fd;

	if (stat(path, &st))
		err(1, "%s", path);
	if (S_ISBLK(st.st_mode))
		flags |= O_DIRECT;
	fd = open(path, flags);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void bad_arguments(void)
{
	errx(2, "usage: phyr_vec LAYOUT UNALIGNED POS LENGTH FROM TO, LAYOUT one of %s",
	     "scatter, gaps, plain, thp, hugetlb, file=PATH");
}

static unsigned long number(const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (end == s || *end)
		bad_arguments();
	return n;
}

/*
 * phyr_vec LAYOUT UNALIGNED POS LENGTH FROM TO
 *
 * Copies LENGTH bytes at POS of FROM to POS of TO. LAYOUT is one of
 *   scatter   1 MiB in 256 pages, no two neighbours physically adjacent
 *   gaps      512 KiB in 256 half pages that start UNALIGNED bytes into a page
 *   plain     1 MiB, virtually contiguous, UNALIGNED bytes into its first page
 *   thp       2 MiB, one transparent huge page
 *   hugetlb   2 MiB, one hugetlb page
 *   file=PATH 1 MiB, the start of that file, which is overwritten
 */
int main(int argc, char **argv)
{
	unsigned long unaligned, pos, end, step = 0;
	const char *layout;
	int from, to, i;

	if (argc != 7 || sysconf(_SC_PAGESIZE) != PAGE)
		bad_arguments();
	layout = argv[1];
	unaligned = number(argv[2]);
	pos = number(argv[3]);
	end = pos + number(argv[4]);
	from = open_direct(argv[5], O_RDONLY);
	to = open_direct(argv[6], O_WRONLY);

	if (unaligned > PAGE / 2)
		bad_arguments();
	if (!strcmp(layout, "scatter"))
		scatter(256, 0, PAGE);
	else if (!strcmp(layout, "gaps"))
		scatter(256, unaligned, PAGE / 2);
	else if (!strcmp(layout, "plain"))
		plain(unaligned, 1 << 20);
	else if (!strcmp(layout, "thp"))
		one_huge_page(false);
	else if (!strcmp(layout, "hugetlb"))
		one_huge_page(true);
	else if (!strncmp(layout, "file=", 5))
		file(layout + 5, 1 << 20);
	else
		bad_arguments();
	for (i = 0; i < nr_iov; i++)
		step += iov[i].iov_len;
	if (pos >= end || (end - pos) % step)
		errx(2, "LENGTH is not a multiple of %lu", step);

	for (; pos < end; pos += step) {
		ssize_t ret;

		/* What is not read must not look like the step before. */
		for (i = 0; i < nr_iov; i++)
			memset(iov[i].iov_base, POISON, iov[i].iov_len);
		ret = preadv(from, iov, nr_iov, pos);
		if (ret != (ssize_t)step)
			errx(1, "preadv at %lu: %zd of %lu bytes: %s", pos, ret,
			     step, ret < 0 ? strerror(errno) : "short");
		ret = pwritev(to, iov, nr_iov, pos);
		if (ret != (ssize_t)step)
			errx(1, "pwritev at %lu: %zd of %lu bytes: %s", pos,
			     ret, step, ret < 0 ? strerror(errno) : "short");
		check_not_moved();
	}
	if (fsync(to))
		err(1, "fsync");
	return 0;
}
