// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files in debugfs whose operations belong to this module.
 *
 * The kernel crate's debugfs::File has operations without an owner, which lie in this module all the
 * same. Nothing then keeps the module while such a file is open, and full_proxy_release() in
 * fs/debugfs/file.c reads the operations when it is closed, even if it was removed long before. With an
 * owner, each open file holds the module.
 *
 * The declarations on the other side are in io.rs.
 */

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "helpers.h"

/* The directory that the directories of all devices are in. It is there as long as there is one of them. */
static struct dentry *root;
static unsigned int num_dirs;
static DEFINE_MUTEX(root_lock);

/* Makes mooring_debugfs_fops, which call mooring_debugfs_show() and have THIS_MODULE as their owner. */
DEFINE_SHOW_ATTRIBUTE(mooring_debugfs);

/* Returns an error pointer on failure, which the other functions take too, and do nothing with. */
struct dentry *mooring_helper_debugfs_create_dir(const char *name)
{
	struct dentry *dir;

	mutex_lock(&root_lock);
	if (!num_dirs++)
		root = debugfs_create_dir("mooring_vdpa", NULL);
	dir = debugfs_create_dir(name, root);
	mutex_unlock(&root_lock);

	return dir;
}

/*
 * The contents are what mooring_debugfs_show() gets as the seq_file's private data. They have to stay
 * where they are until the directory was removed.
 */
void mooring_helper_debugfs_create_file(struct dentry *dir, const char *name, void *contents)
{
	debugfs_create_file(name, 0400, dir, contents, &mooring_debugfs_fops);
}

/* To be called once for each directory, even if it could not be made. Waits for all who read its files. */
void mooring_helper_debugfs_remove_dir(struct dentry *dir)
{
	/* Not under the lock: nobody else's device should have to wait for these readers. */
	debugfs_remove(dir);

	mutex_lock(&root_lock);
	if (!--num_dirs)
		debugfs_remove(root);
	mutex_unlock(&root_lock);
}
