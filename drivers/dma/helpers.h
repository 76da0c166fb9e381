/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MOORING_DMA_HELPERS_H
#define MOORING_DMA_HELPERS_H

#include <linux/dma-direction.h>
#include <linux/types.h>

struct device;
struct dma_iova_state;
struct page;

int mooring_helper_dma_mapping_error(struct device *dev, dma_addr_t addr);
int mooring_helper_get_folios(unsigned long pfn, unsigned long end);
phys_addr_t mooring_helper_page_to_phys(struct page *page);
void mooring_helper_copy_from_phys(void *to, phys_addr_t from, size_t size);
void mooring_helper_copy_to_phys(phys_addr_t to, const void *from, size_t size);
void mooring_helper_put_folios(unsigned long pfn, unsigned long end);

unsigned long mooring_helper_iova_granule(struct device *dev);
bool mooring_helper_iova_alloc(struct device *dev, struct dma_iova_state *state, size_t size);
void mooring_helper_iova_free(struct device *dev, struct dma_iova_state *state);
int mooring_helper_iova_link(struct device *dev, struct dma_iova_state *state, phys_addr_t phys,
			     size_t offset, size_t size, enum dma_data_direction dir, unsigned long attrs);
int mooring_helper_iova_sync(struct device *dev, struct dma_iova_state *state, size_t size);
void mooring_helper_iova_unlink(struct device *dev, struct dma_iova_state *state, size_t offset,
				size_t size, enum dma_data_direction dir, unsigned long attrs);

#endif
