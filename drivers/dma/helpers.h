/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MOORING_DMA_HELPERS_H
#define MOORING_DMA_HELPERS_H

#include <linux/types.h>

struct device;

int mooring_helper_dma_mapping_error(struct device *dev, dma_addr_t addr);
int mooring_helper_get_folios(unsigned long pfn, unsigned long end);
void mooring_helper_put_folios(unsigned long pfn, unsigned long end);

#endif
