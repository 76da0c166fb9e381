/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bindgen reads for the vDPA bindings. Which of it becomes Rust is said in bindgen_parameters.
 */

#include <linux/vdpa.h>
#include <linux/vhost_iotlb.h>
#include <uapi/linux/vdpa.h>
#include <uapi/linux/vhost_types.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_ring.h>
