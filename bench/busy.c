// SPDX-License-Identifier: GPL-2.0
/*
 * busy COMMAND [ARGUMENT...]
 *
 * Runs COMMAND and prints how many nanoseconds the CPU was busy meanwhile, with
 * whatever: the program, the kernel, interrupts.  Under QEMU's -icount shift=0
 * these are instructions.
 *
 * A process of the lowest class soaks up all that nobody else needs, and counts
 * what it got.  So the CPU is never idle: under -icount no time passes that is
 * not made of instructions, and an interrupt is counted even if it comes while
 * there is nothing else to do, which the kernel's own idle time does not say.
 * For machines with one CPU.
 */
#define _GNU_SOURCE
#include <err.h>
#include <linux/types.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NSEC	1000000000ULL

static __u64 *counter;

static __u64 rounds(void)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC + ts.tv_nsec;
}

static pid_t start_soaking(void)
{
	struct sched_param param = {};
	pid_t pid = fork();
	__u64 n = 0;

	if (pid < 0)
		err(1, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		err(1, "SCHED_IDLE");
	for (;;)
		__atomic_store_n(counter, ++n, __ATOMIC_RELAXED);
}

/*
 * The length of a round, with its share of timer ticks: those that come while
 * nobody needs the CPU are no part of the figure.
 */
static double length_of_round(void)
{
	struct timespec ts = { .tv_nsec = NSEC / 25 };
	__u64 start, before;

	start = now();
	before = rounds();
	nanosleep(&ts, NULL);
	return (double)(now() - start) / (rounds() - before);
}

int main(int argc, char **argv)
{
	__u64 start, before, took;
	double length;
	int status;
	pid_t soaker, pid;

	if (argc < 2)
		errx(2, "usage: busy COMMAND [ARGUMENT...]");
	counter = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counter == MAP_FAILED)
		err(1, "mmap");
	soaker = start_soaking();
	length = length_of_round();
	if (length < 1 || length > NSEC / 25)
		errx(1, "the clock does not count instructions");

	start = now();
	before = rounds();
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		execvp(argv[1], argv + 1);
		err(127, "%s", argv[1]);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	took = now() - start - (rounds() - before) * length;
	kill(soaker, SIGKILL);

	if (!WIFEXITED(status) || WEXITSTATUS(status))
		errx(1, "%s failed", argv[1]);
	printf("%llu\n", took);
	return 0;
}
