// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to pin user memory and to unpin it, in instructions.
 *
 * As phyr_bench.c, but for memory that a program has: pin.c.  Each line it logs is
 *	phyr_bench: gup-<call>-<memory>-<pin|unpin|both> <instructions>
 * where the call is "array", by pages, or "range", which is by pages as well where
 * the kernel has nothing else, or
 *	phyr_bench: <machine>-mr-<memory>-<reg|dereg|both> <instructions>
 * for ib_umem_get_va() and ib_umem_release() with QEMU's edu for an RDMA device.
 */
#define pr_fmt(fmt) "phyr_bench: " fmt

#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#include "phyr_pin.h"

#define LOOPS	5

static char *name = "";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "What the rows of the device are to start with");

static struct page **pages;

/* Returns bytes. */
static unsigned long pin_array(const struct phyr_pin *pin, unsigned int flags)
{
	unsigned long nr = pin->len / PAGE_SIZE, done = 0;
	long ret;

	while (done < nr) {
		ret = pin_user_pages_fast(pin->addr + done * PAGE_SIZE,
					  nr - done, flags, pages + done);
		if (ret <= 0)
			break;
		done += ret;
	}
	return done * PAGE_SIZE;
}

static void unpin_array(unsigned long len)
{
	unpin_user_pages(pages, len / PAGE_SIZE);
}

#if __has_include("linux/phyr.h")
#include <linux/phyr.h>

static struct phyr phyr;

static unsigned long pin_range(const struct phyr_pin *pin, unsigned int flags)
{
	size_t done = 0;
	ssize_t ret;

	while (done < pin->len) {
		ret = pin_user_pages_range(pin->addr + done, pin->len - done,
					   flags, &phyr, GFP_KERNEL);
		if (ret <= 0)
			break;
		done += ret;
	}
	return done;
}

/* Dropping what was stored is part of it. */
static void unpin_range(unsigned long len)
{
	unpin_user_pages_range(&phyr);
}

static unsigned int count_ranges(const struct phyr_pin *pin)
{
	unsigned int nr = 0;
	struct phyr_iter iter;
	struct phys_vec vec;

	pin_range(pin, FOLL_WRITE);
	phyr_iter_stored(&iter, &phyr, 0, SIZE_MAX, NULL);
	while (phyr_iter_next(&iter, &vec) > 0)
		nr++;
	unpin_range(pin->len);
	return nr;
}
#else
#define pin_range pin_array
#define unpin_range unpin_array

static unsigned int count_ranges(const struct phyr_pin *pin)
{
	return 0;
}
#endif

struct call {
	const char	*name;
	unsigned long	(*pin)(const struct phyr_pin *pin, unsigned int flags);
	void		(*unpin)(unsigned long len);
};

static void log_rows(const char *what, const struct phyr_pin *pin,
		     const char *get, u64 got, const char *put, u64 dropped)
{
	pr_info("%s-%s-%s %llu\n", what, pin->name, get, got);
	pr_info("%s-%s-%s %llu\n", what, pin->name, put, dropped);
	pr_info("%s-%s-both %llu\n", what, pin->name, got + dropped);
}

static int measure(const struct phyr_pin *pin, const struct call *call)
{
	char what[32];

	unsigned int flags = FOLL_WRITE | (pin->longterm ? FOLL_LONGTERM : 0);
	u64 best_pin = U64_MAX, best_unpin = U64_MAX;
	unsigned int i;

	/* the clock ticks now and then: the best is without */
	for (i = 0; i < LOOPS; i++) {
		u64 start = ktime_get_ns(), pinned, end;
		unsigned long len = call->pin(pin, flags);

		pinned = ktime_get_ns();
		call->unpin(len);
		end = ktime_get_ns();
		if (len != pin->len) {
			pr_err("gup-%s-%s failed: pinned %lu of %llu bytes\n",
			       call->name, pin->name, len, pin->len);
			return -EIO;
		}
		best_pin = min(best_pin, pinned - start);
		best_unpin = min(best_unpin, end - pinned);
	}
	snprintf(what, sizeof(what), "gup-%s", call->name);
	log_rows(what, pin, "pin", best_pin, "unpin", best_unpin);
	return 0;
}

/* As much of an RDMA device as ib_umem_get_va() looks at. */
static struct ib_device *ibdev;

static int measure_mr(const struct phyr_pin *pin)
{
	u64 best_reg = U64_MAX, best_dereg = U64_MAX;
	char what[32];
	unsigned int i;

	for (i = 0; i < LOOPS; i++) {
		u64 start = ktime_get_ns(), registered, end;
		struct ib_umem *umem;

		umem = ib_umem_get_va(ibdev, pin->addr, pin->len,
				      IB_ACCESS_LOCAL_WRITE);
		registered = ktime_get_ns();
		if (IS_ERR(umem)) {
			pr_err("mr-%s failed: %pe\n", pin->name, umem);
			return PTR_ERR(umem);
		}
		ib_umem_release(umem);
		end = ktime_get_ns();
		best_reg = min(best_reg, registered - start);
		best_dereg = min(best_dereg, end - registered);
	}
	snprintf(what, sizeof(what), "%s-mr", name);
	log_rows(what, pin, "reg", best_reg, "dereg", best_dereg);
	return 0;
}

static int measure_pin(struct phyr_pin *pin)
{
	static const struct call calls[] = {
		{ "array", pin_array, unpin_array },
		{ "range", pin_range, unpin_range },
	};
	unsigned int i;
	int ret = 0;

	pages = kvcalloc(pin->len / PAGE_SIZE, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(calls) && !ret; i++)
		ret = measure(pin, &calls[i]);
	pin->ranges = count_ranges(pin);
	kvfree(pages);
	return ret;
}

static long phyr_pin_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct phyr_pin pin;
	int ret;

	if (copy_from_user(&pin, (void __user *)arg, sizeof(pin)))
		return -EFAULT;
	pin.name[sizeof(pin.name) - 1] = 0;

	switch (cmd) {
	case PHYR_PIN:
		ret = measure_pin(&pin);
		break;
	case PHYR_MR:
		return measure_mr(&pin);
	default:
		return -ENOTTY;
	}
	if (!ret && copy_to_user((void __user *)arg, &pin, sizeof(pin)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations phyr_pin_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= phyr_pin_ioctl,
};

static struct miscdevice phyr_pin_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "phyr_pin",
	.fops	= &phyr_pin_fops,
};

static int __init phyr_pin_init(void)
{
	struct pci_dev *pdev;
	int ret;

	pdev = pci_get_device(0x1234, 0x11e8, NULL);
	if (!pdev)
		return -ENODEV;
	ret = -ENOMEM;
	ibdev = kzalloc_obj(*ibdev);
	if (!ibdev)
		goto out_put;
	ibdev->dma_device = &pdev->dev;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	ret = dma_set_mask(&pdev->dev, DMA_BIT_MASK(64));
	if (!ret)
		ret = misc_register(&phyr_pin_device);
	if (!ret)
		return 0;
	kfree(ibdev);
out_put:
	pci_dev_put(pdev);
	return ret;
}

static void __exit phyr_pin_exit(void)
{
	misc_deregister(&phyr_pin_device);
	pci_dev_put(to_pci_dev(ibdev->dma_device));
	kfree(ibdev);
}

module_init(phyr_pin_init);
module_exit(phyr_pin_exit);

MODULE_DESCRIPTION("Cost of pinning user memory");
MODULE_LICENSE("GPL");
