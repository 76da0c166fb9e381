/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MOORING_KUNIT_HELPERS_H
#define MOORING_KUNIT_HELPERS_H

#include <linux/types.h>

struct device;
struct page;
struct pci_dev;
struct vdpa_device;

void mooring_kunit_fail(const char *file, int file_len, u32 line, const char *text, int text_len);
unsigned int mooring_kunit_reports(void);

struct pci_dev *mooring_kunit_function(void);
struct device *mooring_kunit_parent(void);
struct device *mooring_kunit_find_child(struct device *parent, const char *name);
unsigned int mooring_kunit_device_refs(struct device *dev);

int mooring_kunit_vdpa_add(struct device *mgmtdev, const char *name, u64 features);
int mooring_kunit_vdpa_del(const char *name);
int mooring_kunit_vdpa_reset(struct vdpa_device *vdev);
void mooring_kunit_vdpa_set_status(struct vdpa_device *vdev, u8 status);
int mooring_kunit_vdpa_set_features(struct vdpa_device *vdev, u64 features);

int mooring_kunit_in_hardirq(void (*function)(void *data), void *data);

long mooring_kunit_alloc_folio(unsigned int order);
long mooring_kunit_alloc_pages(unsigned int order);
struct page *mooring_kunit_page(unsigned long pfn);
void mooring_kunit_put_page(unsigned long pfn);
int mooring_kunit_page_refs(unsigned long pfn);
unsigned long mooring_kunit_zero_page(void);
void *mooring_kunit_bus_to_virt(dma_addr_t bus);

#endif
