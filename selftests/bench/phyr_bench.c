// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to turn the memory of a request into what a device takes.
 *
 * To be loaded in a guest under QEMU's -icount shift=0, where a nanosecond is
 * an instruction, so that the figures are exact.  Builds against a kernel with
 * or without the series: it only calls what both have.  Each line it logs is
 * "phyr_bench: <row> <instructions>".
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blk-mq-dma.h>
#include <linux/blkdev.h>
#include <linux/dma-mapping.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define MAX_SEGS	256
#define LOOPS		64

static struct request_queue *queue;
static struct page *pool;
static struct bio_vec bvecs[MAX_SEGS];
static struct scatterlist sgl[MAX_SEGS];
static struct bio bio;
static struct request rq;

/* A write of @nr pages, no two of which are adjacent. */
static void make_request(unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		bvec_set_page(&bvecs[i], pool + 2 * i, PAGE_SIZE, 0);

	memset(&bio, 0, sizeof(bio));
	bio.bi_opf = REQ_OP_WRITE;
	bio.bi_io_vec = bvecs;
	bio.bi_iter.bi_size = nr * PAGE_SIZE;

	memset(&rq, 0, sizeof(rq));
	rq.q = queue;
	rq.bio = &bio;
	rq.cmd_flags = REQ_OP_WRITE;
	rq.__data_len = nr * PAGE_SIZE;
	rq.nr_phys_segments = nr;
}

static bool map_sg(struct device *dev, unsigned int nr)
{
	return blk_rq_map_sg(&rq, sgl) == nr;
}

static bool map_dma(struct device *dev, unsigned int nr)
{
	struct dma_iova_state state;
	struct blk_dma_iter iter;
	size_t len = 0;

	if (!blk_rq_dma_map_iter_start(&rq, dev, &state, &iter))
		return false;
	do {
		len += iter.len;
	} while (len < rq.__data_len &&
		 blk_rq_dma_map_iter_next(&rq, dev, &iter));

	/* Unmapping is not part of the figure where there is nothing to do. */
	if (dma_use_iova(&state))
		dma_iova_destroy(dev, &state, len, DMA_TO_DEVICE, 0);
	return len == rq.__data_len;
}

static int measure(const char *name, struct device *dev,
		   bool (*fn)(struct device *dev, unsigned int nr))
{
	static const unsigned int sizes[] = { 1, 2, 8, 32, 128, 256 };
	unsigned int s, i;
	unsigned long flags;
	bool ok = true;
	u64 start, took;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		make_request(sizes[s]);
		sg_init_table(sgl, MAX_SEGS);
		ok &= fn(dev, sizes[s]);	/* warms caches of the allocators */

		local_irq_save(flags);
		start = ktime_get_ns();
		for (i = 0; i < LOOPS; i++)
			ok &= fn(dev, sizes[s]);
		took = ktime_get_ns() - start;
		local_irq_restore(flags);

		if (!ok) {
			pr_err("%s-%u failed\n", name, sizes[s]);
			return -EIO;
		}
		pr_info("%s-%u %llu\n", name, sizes[s], took / LOOPS);
	}
	return 0;
}

static int measure_direct(void)
{
	struct platform_device *pdev;
	int ret;

	pdev = platform_device_register_simple("phyr_bench", -1, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	ret = dma_set_mask(&pdev->dev, DMA_BIT_MASK(64));
	if (!ret)
		ret = measure("blk_rq_dma_map_iter-direct", &pdev->dev, map_dma);
	platform_device_unregister(pdev);
	return ret;
}

static int measure_iommu(void)
{
	struct pci_dev *pdev;
	int ret;

	pdev = pci_get_class(PCI_CLASS_STORAGE_EXPRESS, NULL);
	if (!pdev)
		return -ENODEV;
	ret = measure("blk_rq_dma_map_iter-iommu", &pdev->dev, map_dma);
	pci_dev_put(pdev);
	return ret;
}

static int __init phyr_bench_init(void)
{
	int ret = -ENOMEM;

	queue = kzalloc_obj(*queue);
	pool = alloc_pages(GFP_KERNEL, get_order(2 * MAX_SEGS * PAGE_SIZE));
	if (!queue || !pool)
		goto out;

	/* as nvme has them */
	queue->limits.max_segment_size = UINT_MAX;
	queue->limits.seg_boundary_mask = U32_MAX;
	queue->limits.virt_boundary_mask = SZ_4K - 1;

	ret = measure("blk_rq_map_sg", NULL, map_sg);
	if (!ret)
		ret = measure_direct();
	if (!ret)
		ret = measure_iommu();
	if (!ret)
		pr_info("done\n");
out:
	if (pool)
		__free_pages(pool, get_order(2 * MAX_SEGS * PAGE_SIZE));
	kfree(queue);
	return ret;
}

static void __exit phyr_bench_exit(void)
{
}

module_init(phyr_bench_init);
module_exit(phyr_bench_exit);

MODULE_DESCRIPTION("Cost of mapping requests");
MODULE_LICENSE("GPL");
