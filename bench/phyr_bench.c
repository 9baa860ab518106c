// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to map ranges of memory for a device, in instructions.
 *
 * To be loaded in a guest under QEMU's -icount shift=0, where a nanosecond is
 * an instruction, so that the figures are exact.  Builds against a kernel with
 * or without dma_map_phyr(), which is all that the #ifs below are for.  Needs
 * QEMU's edu device, which no driver takes.  Each line it logs is
 *	phyr_bench: <name>-<call>-<shape>-<map|unmap>-<ranges> <instructions>
 * and after the last one "phyr_bench: done".  A row is only logged once the
 * mapping has been checked, page by page.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blk-mq-dma.h>
#include <linux/blkdev.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

#define MAX_RANGES	1024
#define POOL_ORDER	10
#define LOOPS		16
#define DIR		DMA_TO_DEVICE
#define DOMAIN_IOVA	SZ_1G
#define DOMAIN_PROT	(IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE)

static char *name = "bench";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "what rows start with");

/* The device, its domain if it is behind an IOMMU, and one to fill by hand. */
static struct device *dev;
static struct iommu_domain *dma_domain;
static struct iommu_domain *own_domain;

/* The same memory, described in every way there is. */
static struct page *pool;
static struct phys_vec vecs[MAX_RANGES];
static struct bio_vec bvecs[MAX_RANGES];
static struct scatterlist sgl[MAX_RANGES];
static struct request_queue *queue;
static struct bio bio;
static struct request rq;
static unsigned int nr;
static size_t total;

/* How the last call has mapped it. */
static struct dma_iova_state state;
static unsigned int nr_out;

#if __has_include("linux/dma-phyr.h")
#include <linux/dma-phyr.h>

static struct dma_vec out[MAX_RANGES + 1];
static struct dma_phyr phyr;
static struct phys_vec batch[MAX_RANGES];

static bool link_vecs(void)
{
	return !dma_iova_link_vecs(dev, &state, vecs, nr, 0, total, DIR, 0);
}

static bool map_each_vec(void)
{
	nr_out = nr;
	return !dma_map_vecs(dev, vecs, nr, out, DIR, 0);
}

static void unmap_each_vec(void)
{
	dma_unmap_vecs(dev, out, nr_out, DIR, 0);
}

static bool map_iter(struct phyr_iter *iter)
{
	int ret;

	memset(&phyr, 0, sizeof(phyr));
	ret = dma_map_phyr(dev, &phyr, iter, total, out, ARRAY_SIZE(out), DIR,
			   0);
	nr_out = ret;
	return ret > 0;
}

static bool map_phyr(void)
{
	struct phyr_iter iter __uninitialized;

	phyr_iter_bvecs(&iter, bvecs, total, NULL);
	return map_iter(&iter);
}

static void unmap_phyr(void)
{
	dma_unmap_phyr(dev, &phyr, out, nr_out, DIR, 0);
}

static bool map_mmio(void)
{
	struct phyr_iter iter __uninitialized;

	phyr_iter_mmio(&iter, vecs, nr, NULL, NULL);
	return map_iter(&iter);
}

static void unmap_mmio(void)
{
	unmap_phyr();
}

static bool map_domain(void)
{
	struct phyr_iter iter __uninitialized;

	phyr_iter_vecs(&iter, vecs, nr, NULL);
	out[0] = (struct dma_vec) { DOMAIN_IOVA, total };
	nr_out = 1;
	return iommu_map_phyr(own_domain, DOMAIN_IOVA, &iter, DOMAIN_PROT,
			      GFP_ATOMIC) == total;
}

/* The walk alone, in batches of @size. */
static bool fill(unsigned int size)
{
	struct phyr_iter iter __uninitialized;
	unsigned int done = 0;
	int ret;

	phyr_iter_bvecs(&iter, bvecs, total, NULL);
	while ((ret = phyr_iter_fill(&iter, batch, size)) > 0)
		done += ret;
	return done == nr;
}

static bool fill_16(void)
{
	return fill(16);
}

static bool fill_64(void)
{
	return fill(64);
}

static bool fill_all(void)
{
	return fill(MAX_RANGES);
}

/* Allocate, and link in batches of @size, all ranges being 4K; no sync. */
static bool link_batches(unsigned int size)
{
	unsigned int i, n;

	if (!dma_iova_try_alloc(dev, &state, vecs[0].paddr, total))
		return false;
	for (i = 0; i < nr; i += n) {
		n = min(size, nr - i);
		if (dma_iova_link_vecs(dev, &state, vecs + i, n, i * SZ_4K,
				       n * SZ_4K, DIR, 0))
			return false;
	}
	return true;
}

static bool link_16(void)
{
	return link_batches(16);
}

static bool link_32(void)
{
	return link_batches(32);
}

static bool link_64(void)
{
	return link_batches(64);
}

static bool link_all(void)
{
	return link_batches(MAX_RANGES);
}

#else /* mainline: what its users do */

struct dma_vec {
	dma_addr_t	addr;
	size_t		len;
};

static struct dma_vec out[MAX_RANGES + 1];

static bool link_vecs_attrs(unsigned long attrs)
{
	size_t done = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (dma_iova_link(dev, &state, vecs[i].paddr, done, vecs[i].len,
				  DIR, attrs))
			return false;
		done += vecs[i].len;
	}
	return true;
}

static bool link_vecs(void)
{
	return link_vecs_attrs(0);
}

static bool map_each_vec_attrs(unsigned long attrs)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		out[i].addr = dma_map_phys(dev, vecs[i].paddr, vecs[i].len, DIR,
					   attrs);
		if (dma_mapping_error(dev, out[i].addr))
			return false;
		out[i].len = vecs[i].len;
	}
	nr_out = nr;
	return true;
}

static bool map_each_vec(void)
{
	return map_each_vec_attrs(0);
}

static void unmap_each_vec(void)
{
	unsigned int i;

	for (i = 0; i < nr_out; i++)
		dma_unmap_phys(dev, out[i].addr, out[i].len, DIR, 0);
}

/* As dma_buf_phys_vec_to_sgt() has it. */
static bool map_mmio(void)
{
	if (!dma_iova_try_alloc(dev, &state, vecs[0].paddr, total))
		return map_each_vec_attrs(DMA_ATTR_MMIO);
	out[0] = (struct dma_vec) { state.addr, total };
	nr_out = 1;
	return link_vecs_attrs(DMA_ATTR_MMIO) &&
	       !dma_iova_sync(dev, &state, 0, total);
}

static void unmap_mmio(void)
{
	unsigned int i;

	if (dma_use_iova(&state)) {
		dma_iova_destroy(dev, &state, total, DIR, DMA_ATTR_MMIO);
		return;
	}
	for (i = 0; i < nr_out; i++)
		dma_unmap_phys(dev, out[i].addr, out[i].len, DIR, DMA_ATTR_MMIO);
}

static bool link_bvecs(void)
{
	size_t done = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (dma_iova_link(dev, &state, bvec_phys(&bvecs[i]), done,
				  bvecs[i].bv_len, DIR, 0))
			return false;
		done += bvecs[i].bv_len;
	}
	return true;
}

static bool map_each_bvec(void)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		out[i].addr = dma_map_phys(dev, bvec_phys(&bvecs[i]),
					   bvecs[i].bv_len, DIR, 0);
		if (dma_mapping_error(dev, out[i].addr))
			return false;
		out[i].len = bvecs[i].bv_len;
	}
	nr_out = nr;
	return true;
}

static bool map_phyr(void)
{
	if (!dma_iova_try_alloc(dev, &state, bvec_phys(&bvecs[0]), total))
		return map_each_bvec();
	out[0] = (struct dma_vec) { state.addr, total };
	nr_out = 1;
	return link_bvecs() && !dma_iova_sync(dev, &state, 0, total);
}

static void unmap_phyr(void)
{
	if (dma_use_iova(&state))
		dma_iova_destroy(dev, &state, total, DIR, 0);
	else
		unmap_each_vec();
}

static bool map_domain(void)
{
	unsigned long iova = DOMAIN_IOVA;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (iommu_map(own_domain, iova, vecs[i].paddr, vecs[i].len,
			      DOMAIN_PROT, GFP_ATOMIC))
			return false;
		iova += vecs[i].len;
	}
	out[0] = (struct dma_vec) { DOMAIN_IOVA, total };
	nr_out = 1;
	return true;
}

#endif

/* An array of ranges: into one IOVA range behind an IOMMU, else each. */
static bool map_vecs(void)
{
	if (!dma_domain)
		return map_each_vec();
	if (!dma_iova_try_alloc(dev, &state, vecs[0].paddr, total))
		return false;
	out[0] = (struct dma_vec) { state.addr, total };
	nr_out = 1;
	return link_vecs() && !dma_iova_sync(dev, &state, 0, total);
}

static void unmap_vecs(void)
{
	if (dma_domain)
		dma_iova_destroy(dev, &state, total, DIR, 0);
	else
		unmap_each_vec();
}

static void unmap_domain(void)
{
	iommu_unmap(own_domain, DOMAIN_IOVA, total);
}

static bool map_domain_sg(void)
{
	out[0] = (struct dma_vec) { DOMAIN_IOVA, total };
	nr_out = 1;
	return iommu_map_sg(own_domain, DOMAIN_IOVA, sgl, nr, DOMAIN_PROT,
			    GFP_ATOMIC) == total;
}

/* A request, as nvme does it. */
static bool map_blk(void)
{
	struct blk_dma_iter iter __uninitialized;
	size_t len = 0;

	nr_out = 0;
	if (!blk_rq_dma_map_iter_start(&rq, dev, &state, &iter))
		return false;
	do {
		out[nr_out++] = (struct dma_vec) { iter.addr, iter.len };
		len += iter.len;
	} while (len < total && blk_rq_dma_map_iter_next(&rq, dev, &iter));
	return len == total;
}

static void unmap_blk(void)
{
	unsigned int i;

	if (dma_use_iova(&state)) {
		dma_iova_destroy(dev, &state, total, DIR, 0);
		return;
	}
	for (i = 0; i < nr_out; i++)
		dma_unmap_phys(dev, out[i].addr, out[i].len, DIR, 0);
}

static bool map_sg(void)
{
	nr_out = dma_map_sg(dev, sgl, nr, DIR);
	return nr_out;
}

static void unmap_sg(void)
{
	dma_unmap_sg(dev, sgl, nr, DIR);
}

static void collect_sg(void)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sg(sgl, sg, nr_out, i)
		out[i] = (struct dma_vec) { sg_dma_address(sg), sg_dma_len(sg) };
}

static bool map_page(void)
{
	out[0].addr = dma_map_phys(dev, vecs[0].paddr, vecs[0].len, DIR, 0);
	out[0].len = vecs[0].len;
	nr_out = 1;
	return !dma_mapping_error(dev, out[0].addr);
}

static void unmap_page(void)
{
	dma_unmap_phys(dev, out[0].addr, out[0].len, DIR, 0);
}

static bool rq_map_sg(void)
{
	nr_out = blk_rq_map_sg(&rq, sgl);
	return nr_out == nr;
}

static void collect_rq_map_sg(void)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sg(sgl, sg, nr_out, i)
		out[i] = (struct dma_vec) { sg_phys(sg), sg->length };
}

/* What every mapping behind an IOMMU pays, however many ranges it has. */
static bool part_alloc(void)
{
	return dma_iova_try_alloc(dev, &state, vecs[0].paddr, total);
}

static void part_free(void)
{
	dma_iova_free(dev, &state);
}

#define IOMMU	BIT(0)	/* behind an IOMMU */
#define DIRECT	BIT(1)	/* without */
#define ONE	BIT(2)	/* one range only */
#define GRANULE	BIT(3)	/* whole pages only */
#define OWN	BIT(4)	/* maps into own_domain */
#define PART	BIT(5)	/* a part of a call: nothing to check, or compare */
#define MMIO	BIT(6)	/* addresses without struct pages */

/* Above all memory, and within what an IOMMU maps to. */
#define MMIO_BASE	BIT_ULL(40)

/* @collect: fills in @out where @map does not, outside of the figure. */
static const struct call {
	const char	*name;
	bool		(*map)(void);
	void		(*unmap)(void);
	void		(*collect)(void);
	unsigned int	flags;
} calls[] = {
	{ "vecs",	map_vecs, unmap_vecs, NULL, IOMMU | DIRECT },
	{ "phyr",	map_phyr, unmap_phyr, NULL, IOMMU | DIRECT },
	{ "mmio",	map_mmio, unmap_mmio, NULL, IOMMU | DIRECT | MMIO },
	{ "blk",	map_blk, unmap_blk, NULL, IOMMU | DIRECT },
	{ "sg",		map_sg, unmap_sg, collect_sg, IOMMU | DIRECT },
	{ "page",	map_page, unmap_page, NULL, IOMMU | DIRECT | ONE },
	{ "domain",	map_domain, unmap_domain, NULL, IOMMU | GRANULE | OWN },
	{ "domain_sg",	map_domain_sg, unmap_domain, NULL,
	  IOMMU | GRANULE | OWN },
	{ "rq_map_sg",	rq_map_sg, NULL, collect_rq_map_sg, DIRECT },
	{ "alloc",	part_alloc, part_free, NULL, IOMMU | PART },
#if __has_include("linux/dma-phyr.h")
	{ "fill16",	fill_16, NULL, NULL, DIRECT | PART },
	{ "fill64",	fill_64, NULL, NULL, DIRECT | PART },
	{ "fill",	fill_all, NULL, NULL, DIRECT | PART },
	{ "link16",	link_16, unmap_vecs, NULL, IOMMU | PART },
	{ "link32",	link_32, unmap_vecs, NULL, IOMMU | PART },
	{ "link64",	link_64, unmap_vecs, NULL, IOMMU | PART },
	{ "link",	link_all, unmap_vecs, NULL, IOMMU | PART },
#endif
};

/*
 * The shapes.  Each range is at an offset in the pool, and its predecessor
 * never ends where it starts.  Ranges may overlap: nobody looks at the data.
 */
static void shape_4k(unsigned int i, size_t *offset, size_t *len)
{
	*offset = 2 * (i % 512) * SZ_4K;
	*len = SZ_4K;
}

/* Folios of a buffer that has them aligned: 4 MiB of it in 48 ranges. */
static void shape_mixed(unsigned int i, size_t *offset, size_t *len)
{
	i %= 48;
	if (i == 0) {
		*offset = 0;
		*len = SZ_2M;
	} else if (i < 32) {
		*offset = (2 * i - 1) * SZ_64K;
		*len = SZ_64K;
	} else {
		*offset = (2 * (i - 32) + 1) * SZ_4K;
		*len = SZ_4K;
	}
}

/* The first starts, and the last ends, in the middle of a page. */
static void shape_odd(unsigned int i, size_t *offset, size_t *len)
{
	shape_4k(i, offset, len);
	if (i == 0) {
		*offset += SZ_1K;
		*len -= SZ_1K;
	}
	if (i == nr - 1)
		*len -= SZ_1K;
}

static void shape_64k(unsigned int i, size_t *offset, size_t *len)
{
	*offset = 0;
	*len = SZ_64K;
}

static void shape_2m(unsigned int i, size_t *offset, size_t *len)
{
	*offset = 0;
	*len = SZ_2M;
}

static const struct shape {
	const char	*name;
	void		(*range)(unsigned int i, size_t *offset, size_t *len);
	bool		one;	/* one range only */
	bool		whole;	/* whole pages */
} shapes[] = {
	{ "4k",		shape_4k, false, true },
	{ "mixed",	shape_mixed, false, true },
	{ "odd",	shape_odd, false, false },
	{ "64k",	shape_64k, true, true },
	{ "2m",		shape_2m, true, true },
};

static void make_ranges(const struct shape *shape, unsigned int count)
{
	size_t offset, len;
	struct page *page;
	unsigned int i;

	nr = count;
	total = 0;
	sg_init_table(sgl, nr);
	for (i = 0; i < nr; i++) {
		shape->range(i, &offset, &len);
		page = pool + offset / PAGE_SIZE;
		vecs[i].paddr = page_to_phys(page) + offset_in_page(offset);
		vecs[i].len = len;
		bvec_set_page(&bvecs[i], page, len, offset_in_page(offset));
		sg_set_page(&sgl[i], page, len, offset_in_page(offset));
		total += len;
	}

	memset(&bio, 0, sizeof(bio));
	bio.bi_opf = REQ_OP_WRITE;
	bio.bi_io_vec = bvecs;
	bio.bi_iter.bi_size = total;

	memset(&rq, 0, sizeof(rq));
	rq.q = queue;
	rq.bio = &bio;
	rq.cmd_flags = REQ_OP_WRITE;
	rq.__data_len = total;
	rq.nr_phys_segments = nr;
}

static phys_addr_t phys_of(struct iommu_domain *domain, dma_addr_t addr)
{
	return domain ? iommu_iova_to_phys(domain, addr) : addr;
}

/* Is every page of every range where @out says, in this order, and no more? */
static bool check_mapped(struct iommu_domain *domain)
{
	unsigned int i, o = 0;
	size_t pos, n, done = 0;

	for (i = 0; i < nr; i++) {
		for (pos = 0; pos < vecs[i].len; pos += n) {
			phys_addr_t phys = vecs[i].paddr + pos;

			n = min(PAGE_SIZE - offset_in_page(phys),
				vecs[i].len - pos);
			if (o < nr_out && done == out[o].len) {
				o++;
				done = 0;
			}
			if (o >= nr_out || n > out[o].len - done ||
			    phys_of(domain, out[o].addr + done) != phys)
				return false;
			done += n;
		}
	}
	return o == nr_out - 1 && done == out[o].len;
}

static bool check_unmapped(struct iommu_domain *domain)
{
	unsigned int o;
	size_t pos;

	for (o = 0; domain && o < nr_out; o++)
		for (pos = 0; pos < out[o].len; pos += PAGE_SIZE)
			if (iommu_iova_to_phys(domain, out[o].addr + pos))
				return false;
	return true;
}

static bool map_and_check(const struct call *call)
{
	struct iommu_domain *domain = dma_domain;
	bool ok;

	if (call->flags & OWN)
		domain = own_domain;
	else if (call->map == rq_map_sg)
		domain = NULL;

	ok = call->map();
	if (call->collect)
		call->collect();
	if (!(call->flags & PART))
		ok = ok && check_mapped(domain);
	if (call->unmap)
		call->unmap();
	if (!(call->flags & PART))
		ok = ok && check_unmapped(domain);
	return ok;
}

/* What a figure holds that is only the reading of the clock. */
static u64 clock_cost(void)
{
	u64 best = U64_MAX, start;
	unsigned int i;

	for (i = 0; i < LOOPS; i++) {
		start = ktime_get_ns();
		best = min(best, ktime_get_ns() - start);
	}
	return best;
}

static void report(const struct call *call, const struct shape *shape,
		   const char *what, u64 took)
{
	pr_info("%s%s-%s-%s-%s-%u %llu\n", call->flags & PART ? "part-" : "",
		name, call->name, shape->name, what, nr,
		DIV_ROUND_CLOSEST_ULL(took, LOOPS));
}

static int measure(const struct call *call, const struct shape *shape,
		   unsigned int count)
{
	u64 start, mapped, end, cost, map = 0, unmap = 0;
	unsigned long flags;
	bool ok = true;
	unsigned int i;

	make_ranges(shape, count);
	for (i = 0; (call->flags & MMIO) && i < nr; i++)
		vecs[i].paddr += MMIO_BASE;
	/* checks, and warms the caches of the allocators */
	if (!map_and_check(call))
		goto failed;

	local_irq_save(flags);
	cost = clock_cost();
	for (i = 0; i < LOOPS; i++) {
		start = ktime_get_ns();
		ok &= call->map();
		mapped = ktime_get_ns();
		if (call->unmap)
			call->unmap();
		end = ktime_get_ns();
		map += mapped - start - cost;
		unmap += end - mapped - cost;
	}
	local_irq_restore(flags);

	if (!ok || !map_and_check(call))
		goto failed;
	report(call, shape, "map", map);
	if (call->unmap)
		report(call, shape, "unmap", unmap);
	return 0;

failed:
	pr_err("%s-%s-%s-%u failed: mapped or unmapped wrongly\n", name,
	       call->name, shape->name, nr);
	return -EIO;
}

/* Does it make sense to measure @call with @count ranges of this @shape? */
static bool sensible(const struct call *call, const struct shape *shape,
		     unsigned int count)
{
	if (!(call->flags & (dma_domain ? IOMMU : DIRECT)))
		return false;
	if (count > 1 && (shape->one || (call->flags & ONE)))
		return false;
	if ((call->flags & GRANULE) && !shape->whole)
		return false;
	/* The parts are for a breakdown of one figure. */
	if ((call->flags & (PART | MMIO)) && shape != &shapes[0])
		return false;
	return true;
}

static int measure_all(void)
{
	static const unsigned int counts[] = { 1, 2, 8, 32, 128, 256, 1024 };
	unsigned int c, s, n;
	int ret;

	for (c = 0; c < ARRAY_SIZE(calls); c++) {
		for (s = 0; s < ARRAY_SIZE(shapes); s++) {
			for (n = 0; n < ARRAY_SIZE(counts); n++) {
				if (!sensible(&calls[c], &shapes[s], counts[n]))
					continue;
				ret = measure(&calls[c], &shapes[s], counts[n]);
				if (ret)
					return ret;
			}
		}
	}
	return 0;
}

static int __init phyr_bench_init(void)
{
	struct pci_dev *pdev;
	int ret;

	pdev = pci_get_device(EDU_VENDOR, EDU_DEVICE, NULL);
	if (!pdev)
		return -ENODEV;
	dev = &pdev->dev;
	ret = dma_set_mask(dev, DMA_BIT_MASK(64));
	if (ret)
		goto out_put;
	dma_set_max_seg_size(dev, UINT_MAX);

	ret = -ENOMEM;
	queue = kzalloc_obj(*queue);
	pool = alloc_pages(GFP_KERNEL, POOL_ORDER);
	if (!queue || !pool)
		goto out_free;
	/* as nvme has them */
	queue->limits.max_segment_size = UINT_MAX;
	queue->limits.seg_boundary_mask = U32_MAX;
	queue->limits.virt_boundary_mask = SZ_4K - 1;

	if (device_iommu_mapped(dev)) {
		dma_domain = iommu_get_domain_for_dev(dev);
		own_domain = iommu_paging_domain_alloc(dev);
		if (IS_ERR(own_domain)) {
			ret = PTR_ERR(own_domain);
			goto out_free;
		}
	}

	ret = measure_all();
	if (!ret)
		pr_info("done\n");

	if (own_domain)
		iommu_domain_free(own_domain);
out_free:
	if (pool)
		__free_pages(pool, POOL_ORDER);
	kfree(queue);
out_put:
	pci_dev_put(pdev);
	return ret;
}

static void __exit phyr_bench_exit(void)
{
}

module_init(phyr_bench_init);
module_exit(phyr_bench_exit);

MODULE_DESCRIPTION("Cost of mapping memory for DMA");
MODULE_LICENSE("GPL");
