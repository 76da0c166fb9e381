// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the tests need of the kernel and Rust code cannot call, and the driver's own C glue, which this
 * module needs a copy of.
 *
 * The declarations on the other side are in sys.rs.
 */

#include <kunit/device.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <linux/debug_locks.h>
#include <linux/dma-mapping.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/pci.h>
#include <linux/vdpa.h>
#include <net/genetlink.h>
#include <net/sock.h>
#include <uapi/linux/vdpa.h>

#include "../debugfs/helpers.c"
#include "../dma/helpers.c"
#include "helpers.h"

/*
 * Makes the running test fail, and lets it go on, so that it cleans up: KUNIT_FAIL() does not end the
 * test as an assertion does.
 */
void mooring_kunit_fail(const char *file, int file_len, u32 line, const char *text, int text_len)
{
	struct kunit *test = kunit_get_current_test();

	if (test)
		KUNIT_FAIL(test, "%.*s:%u: %.*s", file_len, file, line, text_len, text);
	else
		pr_err("%.*s:%u: %.*s (not in a test)\n", file_len, file, line, text_len, text);
}

/*
 * Returns a bit for each kind of report that there has been. Lockdep switches itself off with its first
 * one; KASAN and those that have found a sleep, a warning or a bad DMA mapping taint the kernel.
 */
unsigned int mooring_kunit_reports(void)
{
	return !debug_locks | test_taint(TAINT_WARN) << 1 | test_taint(TAINT_BAD_PAGE) << 2;
}

/*
 * A PCI function that is on no bus, for code that wants one to print messages with. It is part of the
 * module, so its reference count must not fall to zero: the first reference is never given back.
 */
static struct pci_dev pci_function = {
	.dev.init_name = "mooring-kunit",
};

struct pci_dev *mooring_kunit_function(void)
{
	if (!kref_read(&pci_function.dev.kobj.kref))
		device_initialize(&pci_function.dev);

	return &pci_function;
}

/* Makes a device, bound to a driver, which KUnit removes when the running test ends. */
struct device *mooring_kunit_parent(void)
{
	static unsigned int count;
	struct device *dev;
	char name[16];

	/* CONFIG_DEBUG_KOBJECT_RELEASE keeps the names of former drivers for a while. Tests run one by one. */
	snprintf(name, sizeof(name), "mooring%u", count++);
	dev = kunit_device_register(kunit_get_current_test(), name);
	if (!IS_ERR(dev) && dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64)))
		return ERR_PTR(-EIO);

	return dev;
}

/* Returns a reference to a child, or NULL. */
struct device *mooring_kunit_find_child(struct device *parent, const char *name)
{
	return device_find_child_by_name(parent, name);
}

unsigned int mooring_kunit_device_refs(struct device *dev)
{
	return kref_read(&dev->kobj.kref);
}

/*
 * Adding and deleting vDPA devices, as the vdpa tool does it: by netlink. There is no other way to have
 * the core call dev_add() with its lock held.
 */

static struct sk_buff *new_request(u16 family, u8 command, u8 version)
{
	struct sk_buff *skb = nlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	struct genlmsghdr *header;
	struct nlmsghdr *message;

	if (!skb)
		return NULL;

	/* It fits. */
	message = nlmsg_put(skb, 0, 1, family, GENL_HDRLEN, NLM_F_REQUEST | NLM_F_ACK);
	header = nlmsg_data(message);
	memset(header, 0, GENL_HDRLEN);
	header->cmd = command;
	header->version = version;

	return skb;
}

/* Reads the answer to a request; if it is of the controller, also a family's number. */
static int read_answer(struct socket *socket, u16 *family)
{
	void *buffer = kmalloc(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	struct msghdr header = {};
	int ret;

	if (!buffer)
		return -ENOMEM;

	for (;;) {
		struct kvec vec = { .iov_base = buffer, .iov_len = NLMSG_DEFAULT_SIZE };
		struct nlmsghdr *message = buffer;
		struct nlattr *attr;

		ret = kernel_recvmsg(socket, &header, &vec, 1, vec.iov_len, 0);
		if (ret < 0)
			break;
		if (!nlmsg_ok(message, ret)) {
			ret = -EBADMSG;
			break;
		}
		if (message->nlmsg_type == NLMSG_ERROR) {
			ret = ((struct nlmsgerr *)nlmsg_data(message))->error;
			break;
		}
		attr = nlmsg_find_attr(message, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID);
		if (family && attr)
			*family = nla_get_u16(attr);
	}
	kfree(buffer);

	return ret;
}

/* Sends a request, which this frees, and waits for the answer. */
static int request(struct sk_buff *skb, u16 *family)
{
	/* With an address, it is the sender's capabilities that count; this socket has no file. */
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct msghdr header = { .msg_name = &kernel, .msg_namelen = sizeof(kernel) };
	struct socket *socket;
	struct kvec vec;
	int ret;

	nlmsg_end(skb, nlmsg_hdr(skb));
	vec.iov_base = skb->data;
	vec.iov_len = skb->len;

	ret = sock_create_kern(&init_net, AF_NETLINK, SOCK_RAW, NETLINK_GENERIC, &socket);
	if (!ret) {
		ret = kernel_sendmsg(socket, &header, &vec, 1, vec.iov_len);
		if (ret >= 0)
			ret = read_answer(socket, family);
		sock_release(socket);
	}
	kfree_skb(skb);

	return ret;
}

static struct sk_buff *new_vdpa_request(u8 command, const char *name)
{
	struct sk_buff *skb = new_request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 2);
	u16 family = 0;
	int ret;

	if (!skb)
		return ERR_PTR(-ENOMEM);
	ret = nla_put_string(skb, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
	if (ret) {
		kfree_skb(skb);
		return ERR_PTR(ret);
	}
	ret = request(skb, &family);
	if (ret)
		return ERR_PTR(ret);

	skb = new_request(family, command, VDPA_GENL_VERSION);
	if (!skb)
		return ERR_PTR(-ENOMEM);
	ret = nla_put_string(skb, VDPA_ATTR_DEV_NAME, name);
	if (ret) {
		kfree_skb(skb);
		return ERR_PTR(ret);
	}

	return skb;
}

/* vdpa dev add name NAME mgmtdev MGMTDEV [device_features FEATURES], which 0 stands for none of. */
int mooring_kunit_vdpa_add(struct device *mgmtdev, const char *name, u64 features)
{
	struct sk_buff *skb = new_vdpa_request(VDPA_CMD_DEV_NEW, name);
	int ret;

	if (IS_ERR(skb))
		return PTR_ERR(skb);
	ret = nla_put_string(skb, VDPA_ATTR_MGMTDEV_BUS_NAME, mgmtdev->bus->name);
	if (!ret)
		ret = nla_put_string(skb, VDPA_ATTR_MGMTDEV_DEV_NAME, dev_name(mgmtdev));
	if (!ret && features)
		ret = nla_put_u64_64bit(skb, VDPA_ATTR_DEV_FEATURES, features, VDPA_ATTR_PAD);
	if (ret) {
		kfree_skb(skb);
		return ret;
	}

	return request(skb, NULL);
}

/* vdpa dev del NAME */
int mooring_kunit_vdpa_del(const char *name)
{
	struct sk_buff *skb = new_vdpa_request(VDPA_CMD_DEV_DEL, name);

	return IS_ERR(skb) ? PTR_ERR(skb) : request(skb, NULL);
}

int mooring_kunit_vdpa_reset(struct vdpa_device *vdev)
{
	return vdpa_reset(vdev, 0);
}

void mooring_kunit_vdpa_set_status(struct vdpa_device *vdev, u8 status)
{
	vdpa_set_status(vdev, status);
}

int mooring_kunit_vdpa_set_features(struct vdpa_device *vdev, u64 features)
{
	return vdpa_set_features(vdev, features);
}

/* A function to be called in a hard interrupt, and whether that was one. */
struct hardirq_call {
	struct irq_work work;
	void (*function)(void *data);
	void *data;
	bool in_hardirq;
};

static void run_hardirq_call(struct irq_work *work)
{
	struct hardirq_call *call = container_of(work, struct hardirq_call, work);

	call->in_hardirq = in_hardirq();
	call->function(call->data);
}

/*
 * Calls a function in an interrupt of this processor, and waits for it. It is a hard interrupt, as a
 * device's is: one that PREEMPT_RT would make a thread, so that it may take spinlocks.
 */
int mooring_kunit_in_hardirq(void (*function)(void *data), void *data)
{
	struct hardirq_call call = {
		.work = IRQ_WORK_INIT(run_hardirq_call),
		.function = function,
		.data = data,
	};

	irq_work_queue(&call.work);
	irq_work_sync(&call.work);

	return call.in_hardirq ? 0 : -EOPNOTSUPP;
}

/* Returns the first page frame of a new folio, or an error. */
long mooring_kunit_alloc_folio(unsigned int order)
{
	struct folio *folio = folio_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, order);

	return folio ? (long)folio_pfn(folio) : -ENOMEM;
}

/* As above, for pages in a row that are a folio each. */
long mooring_kunit_alloc_pages(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, order);

	if (!page)
		return -ENOMEM;
	split_page(page, order);

	return (long)page_to_pfn(page);
}

struct page *mooring_kunit_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

void mooring_kunit_put_page(unsigned long pfn)
{
	put_page(pfn_to_page(pfn));
}

/* Returns the number of references to the folio that a page is in. */
int mooring_kunit_page_refs(unsigned long pfn)
{
	return folio_ref_count(page_folio(pfn_to_page(pfn)));
}

unsigned long mooring_kunit_zero_page(void)
{
	return page_to_pfn(ZERO_PAGE(0));
}

/* Returns where coherent memory of a test's device lies. No IOMMU translates for it: it is on no bus. */
void *mooring_kunit_bus_to_virt(dma_addr_t bus)
{
	return phys_to_virt(bus);
}
