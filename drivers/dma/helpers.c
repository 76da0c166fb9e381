// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inline functions of the kernel that Rust code cannot call and rust/helpers does not have.
 *
 * The declarations on the other side are in mapping.rs, iova.rs, pages.rs and bounce.rs with its folder.
 */

#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "helpers.h"

int mooring_helper_dma_mapping_error(struct device *dev, dma_addr_t addr)
{
	return dma_mapping_error(dev, addr);
}

/*
 * Takes a reference to the folio of a page. Fails if the page is free, or being split or migrated:
 * this does not happen to pages that the caller knows to be referenced. See try_get_folio() in mm/gup.c.
 */
static struct folio *try_get_folio(struct page *page)
{
	struct folio *folio = page_folio(page);

	/* Pinning takes no reference to the zero page either, it is never freed. */
	if (is_zero_folio(folio))
		return folio;

	/* Zero, or close to an overflow. */
	if (folio_ref_count(folio) <= 0 || !folio_try_get(folio))
		return NULL;

	if (page_folio(page) != folio) {
		folio_put(folio);
		return NULL;
	}

	return folio;
}

static unsigned long folio_end_pfn(struct folio *folio)
{
	return folio_pfn(folio) + folio_nr_pages(folio);
}

/* Drops the references to all folios that have pages in [pfn, end). */
void mooring_helper_put_folios(unsigned long pfn, unsigned long end)
{
	while (pfn < end) {
		struct folio *folio = page_folio(pfn_to_page(pfn));

		pfn = folio_end_pfn(folio);
		if (!is_zero_folio(folio))
			folio_put(folio);
		cond_resched();
	}
}

/*
 * Takes one reference to each folio that has pages in [pfn, end). A folio to which there is a
 * reference is not split, so mooring_helper_put_folios() meets the same ones.
 */
int mooring_helper_get_folios(unsigned long pfn, unsigned long end)
{
	unsigned long start = pfn;

	while (pfn < end) {
		struct folio *folio = NULL;

		if (pfn_valid(pfn))
			folio = try_get_folio(pfn_to_page(pfn));
		if (!folio) {
			mooring_helper_put_folios(start, pfn);
			return -EFAULT;
		}

		pfn = folio_end_pfn(folio);
		cond_resched();
	}

	return 0;
}

/*
 * Bus addresses of the platform IOMMU. Where the kernel has no IOMMU drivers these functions are inline, and
 * Rust code would not find them.
 */

/* What the start and the length of a piece must be multiples of, or 0 without a platform IOMMU. */
unsigned long mooring_helper_iova_granule(struct device *dev)
{
	unsigned long boundary = dma_get_merge_boundary(dev);

	return boundary ? boundary + 1 : 0;
}

bool mooring_helper_iova_alloc(struct device *dev, struct dma_iova_state *state, size_t size)
{
	/* The physical address matters only to pieces that are not aligned. */
	return dma_iova_try_alloc(dev, state, 0, size);
}

void mooring_helper_iova_free(struct device *dev, struct dma_iova_state *state)
{
	dma_iova_free(dev, state);
}

int mooring_helper_iova_link(struct device *dev, struct dma_iova_state *state, phys_addr_t phys,
			     size_t offset, size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	return dma_iova_link(dev, state, phys, offset, size, dir, attrs);
}

int mooring_helper_iova_sync(struct device *dev, struct dma_iova_state *state, size_t size)
{
	return dma_iova_sync(dev, state, 0, size);
}

void mooring_helper_iova_unlink(struct device *dev, struct dma_iova_state *state, size_t offset,
				size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	dma_iova_unlink(dev, state, offset, size, dir, attrs);
}

phys_addr_t mooring_helper_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

/* Copies size bytes of memory at a physical address, which has to exist, to memory that a device may write to meanwhile. */
void mooring_helper_copy_from_phys(void *to, phys_addr_t from, size_t size)
{
	while (size) {
		size_t part = min_t(size_t, size, PAGE_SIZE - offset_in_page(from));

		memcpy_from_page(to, pfn_to_page(PHYS_PFN(from)), offset_in_page(from), part);
		to += part;
		from += part;
		size -= part;
	}
}

/* The other way round. */
void mooring_helper_copy_to_phys(phys_addr_t to, const void *from, size_t size)
{
	while (size) {
		size_t part = min_t(size_t, size, PAGE_SIZE - offset_in_page(to));

		memcpy_to_page(pfn_to_page(PHYS_PFN(to)), offset_in_page(to), from, part);
		to += part;
		from += part;
		size -= part;
	}
}
