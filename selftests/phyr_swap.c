// SPDX-License-Identifier: GPL-2.0
/*
 * phyr_swap MIB ROUNDS
 *
 * Fills that much anonymous memory with a pattern that is another one in each
 * page and round, and looks in the next round if it is still there.
 */
#include <err.h>
#include <linux/types.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL
#define WORDS	(PAGE / sizeof(__u64))

static __u64 first_word(__u64 page, __u64 round)
{
	return (page << 8 | round) * 0x9e3779b97f4a7c15ULL;
}

static void fill(__u64 *p, unsigned long page, unsigned long round)
{
	__u64 first = first_word(page, round);
	unsigned long i;

	for (i = 0; i < WORDS; i++)
		p[i] = first + i;
}

static void check(const __u64 *p, unsigned long page, unsigned long round)
{
	__u64 first = first_word(page, round);
	unsigned long i;

	for (i = 0; i < WORDS; i++)
		if (p[i] != first + i)
			errx(1, "round %lu: word %lu of page %lu is %#llx, not %#llx",
			     round, i, page, p[i], first + i);
}

int main(int argc, char **argv)
{
	unsigned long pages, rounds, page, round;
	__u64 *p;

	if (argc != 3 || sysconf(_SC_PAGESIZE) != PAGE)
		errx(1, "usage: phyr_swap MIB ROUNDS");
	pages = strtoul(argv[1], NULL, 0) * ((1 << 20) / PAGE);
	rounds = strtoul(argv[2], NULL, 0);
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");

	for (round = 0; round < rounds; round++) {
		for (page = 0; page < pages; page++) {
			if (round)
				check(p + page * WORDS, page, round - 1);
			fill(p + page * WORDS, page, round);
		}
	}
	for (page = 0; page < pages; page++)
		check(p + page * WORDS, page, rounds - 1);
	return 0;
}
