// SPDX-License-Identifier: GPL-2.0
/*
 * phyr_fail LAYOUT DISK POS DEVICE
 *
 * Writes to and reads from that position of the disk, with O_DIRECT, while the nth
 * allocation fails, for each n there is. Afterwards as many pages are pinned, as much
 * is mapped and as many descriptors are in use as before, and what is said to have
 * been written or read is right. DEVICE is what the disk is a function of, in sysfs.
 * Says how many allocations failed, and how many of these a caller heard of.
 * LAYOUT is of what the memory is made: scatter, few, plain, folios, huge, fresh or
 * fixed; see make_layout().
 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <linux/types.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "../kselftest_fail_nth.h"
#include "phyr_pins.h"

#define PAGE		4096UL
#define HUGE_PAGE	(2UL << 20)
#define SIZE		HUGE_PAGE
/* As many ranges as an NVMe command takes. */
#define NR_SCATTERED	256UL
/* Few enough for PRPs, too many to do without a list of these. */
#define NR_FEW		6UL
/* Of memory that is not there yet. */
#define NR_FRESH	16UL
#define POISON		0xa5
/* More than any of it allocates: it never comes to an end. */
#define MAX_NTH		5000

struct test {
	int disk;
	off_t pos;
	const char *device;
	struct iovec iov[NR_SCATTERED];
	int nr_iov;
	size_t len;
	/* memory that a call gets before it has been touched */
	bool fresh;
	/* what is on the disk, and room to look at it */
	char *data, *copy;
	unsigned int nr_failed, nr_errors;
};

static struct test test;

/* @len bytes, @offset from where a huge page can start. */
static char *map(size_t len, size_t offset, int advice)
{
	char *p = mmap(NULL, len + 2 * HUGE_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap of %zu bytes", len);
	p += (-(uintptr_t)p & (HUGE_PAGE - 1)) + offset;
	if (madvise(p, len, advice))
		err(1, "madvise");
	memset(p, POISON, len);
	return p;
}

static void add(char *p, size_t len)
{
	test.iov[test.nr_iov].iov_base = p;
	test.iov[test.nr_iov++].iov_len = len;
	test.len += len;
}

/* Every other page: no two of them make one range. */
static void scatter(size_t nr)
{
	char *p = map(2 * nr * PAGE, 0, MADV_NOHUGEPAGE);
	size_t i;

	for (i = 0; i < nr; i++)
		add(p + 2 * i * PAGE, PAGE);
}

static bool make_layout(const char *layout)
{
	test.fresh = !strcmp(layout, "fresh");
	if (!strcmp(layout, "scatter"))
		scatter(NR_SCATTERED);
	else if (!strcmp(layout, "few"))
		scatter(NR_FEW);
	else if (!strcmp(layout, "plain") || !strcmp(layout, "fixed") ||
		 test.fresh)
		add(map(SIZE, 0, MADV_NOHUGEPAGE), SIZE);
	else if (!strcmp(layout, "huge"))
		add(map(SIZE, 0, MADV_HUGEPAGE), SIZE);
	else if (!strcmp(layout, "folios"))
		/* a part of two huge pages each, which has to do with smaller ones */
		add(map(SIZE, SIZE / 2, MADV_HUGEPAGE), SIZE);
	else
		return false;
	return true;
}

/* Never the same in two pages, or for two seeds. */
static void make_data(unsigned int seed)
{
	__u64 *word = (__u64 *)test.data, x = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	size_t i;

	for (i = 0; i < SIZE / sizeof(*word); i++)
		word[i] = x += 0x9e3779b97f4a7c15ULL;
}

static void put_data(void)
{
	char *from = test.data;
	int i;

	for (i = 0; i < test.nr_iov; from += test.iov[i++].iov_len)
		memcpy(test.iov[i].iov_base, from, test.iov[i].iov_len);
}

static void poison(void)
{
	int i;

	for (i = 0; i < test.nr_iov; i++)
		memset(test.iov[i].iov_base, POISON, test.iov[i].iov_len);
}

/* What has not been touched is read as zeros. */
static void discard(bool read)
{
	size_t len = NR_FRESH * PAGE;

	if (madvise(test.iov[0].iov_base, len, MADV_DONTNEED))
		err(1, "MADV_DONTNEED");
	if (!read)
		memset(test.data, 0, len);
}

/* What is to be written, or is to be replaced by what is read. */
static void prepare(bool read, unsigned int nth)
{
	if (!read)
		make_data(nth);
	if (read)
		poison();
	else
		put_data();
	if (test.fresh)
		discard(read);
}

/* Is the start of what was read, in @iov, that of what is on the disk? */
static bool same(const struct iovec *iov, size_t len)
{
	const char *data = test.data;

	for (; len; iov++) {
		size_t part = iov->iov_len < len ? iov->iov_len : len;

		if (memcmp(iov->iov_base, data, part))
			return false;
		data += part;
		len -= part;
	}
	return true;
}

static bool written(size_t len)
{
	struct iovec iov = { test.copy, len };

	memset(test.copy, POISON, len);
	if (pread(test.disk, test.copy, len, test.pos) != (ssize_t)len)
		err(1, "pread");
	return same(&iov, len);
}

/* A number in a file, or 0 where there is no such file. */
static long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = 0;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

#define DMA_API(name)	"/sys/kernel/debug/dma-api/" name

/* Mappings that DMA-API debugging knows of. */
static long nr_mappings(void)
{
	return number(DMA_API("nr_total_entries")) -
	       number(DMA_API("num_free_entries"));
}

/* The blocks in use of the device's DMA pools, and the pages of these. */
struct pools {
	long blocks, pages;
};

/* A line has a name, which may have spaces, and four numbers. */
static void add_pool(struct pools *pools, char *line)
{
	char *last[4] = {}, *word;

	for (word = strtok(line, "\n "); word; word = strtok(NULL, "\n ")) {
		memmove(last, last + 1, 3 * sizeof(*last));
		last[3] = word;
	}
	if (!last[0])
		return;
	pools->blocks += atol(last[0]);
	pools->pages += atol(last[3]);
}

/* Not all devices have some. The first line is a heading. */
static struct pools read_pools(void)
{
	struct pools pools = {};
	char path[256], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/pools", test.device);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		while (fgets(line, sizeof(line), f))
			add_pool(&pools, line);
	if (f)
		fclose(f);
	return pools;
}

struct state {
	long pins, mappings, blocks;
};

static struct state read_state(void)
{
	struct pins pins = read_pins();
	struct pools pools = read_pools();

	return (struct state) {
		.pins = pins.acquired - pins.released,
		/* pools keep their pages, which are mapped for as long as they have them */
		.mappings = nr_mappings() - pools.pages,
		.blocks = pools.blocks,
	};
}

static bool same_state(const struct state *a, const struct state *b)
{
	return a->pins == b->pins && a->mappings == b->mappings &&
	       a->blocks == b->blocks;
}

/* Who waits for I/O is woken up right before the pages of its last part are unpinned. */
static void check_state(const struct state *before, const char *name,
			unsigned int nth)
{
	struct state now = read_state();
	int tries;

	for (tries = 0; tries < 100 && !same_state(&now, before); tries++) {
		usleep(10000);
		now = read_state();
	}
	if (!same_state(&now, before))
		errx(1, "%s, allocation %u: %+ld pins, %+ld mappings, %+ld blocks of pools",
		     name, nth, now.pins - before->pins,
		     now.mappings - before->mappings,
		     now.blocks - before->blocks);
}

/* A ring of one entry. */
static struct ring {
	int fd;
	unsigned int *sq_tail, *sq_array, sq_mask;
	unsigned int *cq_head, *cq_tail, cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
} ring;

static char *map_ring(off_t what, size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, ring.fd, what);

	if (p == MAP_FAILED)
		err(1, "mmap of a ring");
	return p;
}

static void open_ring(void)
{
	struct io_uring_params p = {};
	char *sq, *cq;

	ring.fd = syscall(__NR_io_uring_setup, 1, &p);
	if (ring.fd < 0)
		err(1, "io_uring_setup");
	sq = map_ring(IORING_OFF_SQ_RING, p.sq_off.array + sizeof(int));
	cq = map_ring(IORING_OFF_CQ_RING,
		      p.cq_off.cqes + p.cq_entries * sizeof(*ring.cqes));
	ring.sqes = (void *)map_ring(IORING_OFF_SQES, sizeof(*ring.sqes));
	ring.sq_tail = (void *)(sq + p.sq_off.tail);
	ring.sq_mask = *(unsigned int *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (void *)(sq + p.sq_off.array);
	ring.cq_head = (void *)(cq + p.cq_off.head);
	ring.cq_tail = (void *)(cq + p.cq_off.tail);
	ring.cq_mask = *(unsigned int *)(cq + p.cq_off.ring_mask);
	ring.cqes = (void *)(cq + p.cq_off.cqes);
}

static int enter(void)
{
	return syscall(__NR_io_uring_enter, ring.fd, 1, 1,
		       IORING_ENTER_GETEVENTS, NULL, 0);
}

/* An entry that was not taken is still there: it must not be left. */
static ssize_t submit(int opcode)
{
	unsigned int tail = *ring.sq_tail, head = *ring.cq_head;
	int ret;

	ring.sqes[0] = (struct io_uring_sqe) {
		.opcode = opcode,
		.fd = test.disk,
		.off = test.pos,
		.addr = (uintptr_t)test.iov[0].iov_base,
		.len = test.len,
	};
	ring.sq_array[tail & ring.sq_mask] = 0;
	__atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
	do
		ret = enter();
	while (__atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE) == head &&
	       (ret >= 0 || errno == EAGAIN || errno == ENOMEM || errno == EINTR));
	if (__atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE) == head)
		err(1, "io_uring_enter");
	ret = ring.cqes[head & ring.cq_mask].res;
	__atomic_store_n(ring.cq_head, head + 1, __ATOMIC_RELEASE);
	if (ret < 0)
		errno = -ret;
	return ret < 0 ? -1 : ret;
}

/* Registers the buffer for one call, which is when it is pinned. */
static ssize_t fixed(int opcode)
{
	ssize_t ret;
	int error;

	if (syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS,
		    test.iov, 1))
		return -1;
	ret = submit(opcode);
	error = errno;
	if (syscall(__NR_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS,
		    NULL, 0))
		err(1, "IORING_UNREGISTER_BUFFERS");
	errno = error;
	return ret;
}

static ssize_t move(bool read)
{
	if (ring.fd > 0)
		return fixed(read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED);
	if (read)
		return preadv(test.disk, test.iov, test.nr_iov, test.pos);
	return pwritev(test.disk, test.iov, test.nr_iov, test.pos);
}

/* It worked, wholly or in part, or it is said that there was no memory. */
static void check_result(bool failed, bool read, ssize_t ret, unsigned int nth)
{
	const char *name = read ? "read" : "write";

	if (!failed && ret != (ssize_t)test.len)
		err(1, "%s without a failure: %zd bytes", name, ret);
	if (ret < 0 && errno != ENOMEM && errno != EAGAIN)
		err(1, "%s, allocation %u", name, nth);
	if (!ret)
		errx(1, "%s, allocation %u: nothing, and no error", name, nth);
	if (ret > 0 && !(read ? same(test.iov, ret) : written(ret)))
		errx(1, "%s, allocation %u: wrong data", name, nth);
}

static void sweep(bool read)
{
	struct state before = read_state();
	unsigned int nth;
	bool failed = true;
	ssize_t ret;

	for (nth = 1; failed; nth++) {
		if (nth > MAX_NTH)
			errx(1, "no end of allocations");
		prepare(read, nth);
		fail_nth_start(nth);
		ret = move(read);
		failed = fail_nth_stop();
		check_result(failed, read, ret, nth);
		check_state(&before, read ? "read" : "write", nth);
		test.nr_failed += failed;
		test.nr_errors += ret != (ssize_t)test.len;
	}
}

int main(int argc, char **argv)
{
	if (argc != 5 || sysconf(_SC_PAGESIZE) != PAGE || !make_layout(argv[1]))
		errx(2, "usage: phyr_fail LAYOUT DISK POS DEVICE");
	test.disk = open(argv[2], O_RDWR | O_DIRECT);
	if (test.disk < 0)
		err(1, "%s", argv[2]);
	test.pos = strtoul(argv[3], NULL, 0);
	test.device = argv[4];
	test.data = map(SIZE, 0, MADV_NOHUGEPAGE);
	test.copy = map(SIZE, 0, MADV_NOHUGEPAGE);
	if (!strcmp(argv[1], "fixed"))
		open_ring();
	if (!fail_nth_open())
		errx(2, "no CONFIG_FAILSLAB or no CONFIG_FAIL_PAGE_ALLOC");

	sweep(false);
	/* no zeros, which is what memory has that is new */
	make_data(0);
	if (pwrite(test.disk, test.data, SIZE, test.pos) != (ssize_t)SIZE)
		err(1, "pwrite");
	sweep(true);
	printf("failed=%u errors=%u\n", test.nr_failed, test.nr_errors);
	return 0;
}
