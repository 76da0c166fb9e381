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
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "helpers.h"

/* The directory that the directories of all devices are in. It is there as long as there is one of them. */
static struct dentry *root;
static unsigned int num_dirs;
static DEFINE_MUTEX(root_lock);

/* Makes mooring_debugfs_fops, which call mooring_debugfs_show() and have THIS_MODULE as their owner. */
DEFINE_SHOW_ATTRIBUTE(mooring_debugfs);

/* A file that is read line by line, of which seq_file's private data is the reader. */
static void *lines_start(struct seq_file *seq, loff_t *pos)
{
	return mooring_debugfs_lines_go_to(seq->private, *pos) ? seq->private : NULL;
}

static void *lines_next(struct seq_file *seq, void *line, loff_t *pos)
{
	++*pos;
	return lines_start(seq, pos);
}

static void lines_stop(struct seq_file *seq, void *line)
{
}

static const struct seq_operations lines_seq_ops = {
	.start = lines_start,
	.next = lines_next,
	.stop = lines_stop,
	.show = mooring_debugfs_lines_show,
};

static int lines_open(struct inode *inode, struct file *file)
{
	void *reader = mooring_debugfs_lines_new(inode->i_private);
	struct seq_file *seq;
	int ret;

	if (IS_ERR(reader))
		return PTR_ERR(reader);

	ret = seq_open(file, &lines_seq_ops);
	if (ret) {
		mooring_debugfs_lines_free(reader);
		return ret;
	}
	seq = file->private_data;
	seq->private = reader;

	/* To go back would mean to begin anew, and to skip lines in the kernel, as many as the card likes. */
	return nonseekable_open(inode, file);
}

static int lines_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	mooring_debugfs_lines_free(seq->private);
	return seq_release(inode, file);
}

static const struct file_operations lines_fops = {
	.owner = THIS_MODULE,
	.open = lines_open,
	.read = seq_read,
	.release = lines_release,
};

/* A file that says how something is set, and sets it when it is written. */
static ssize_t setting_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	struct seq_file *seq = file->private_data;
	char text[16];
	int ret;

	if (len > sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, len))
		return -EFAULT;

	ret = mooring_debugfs_set(seq->private, text, len);
	return ret ? ret : len;
}

static const struct file_operations setting_fops = {
	.owner = THIS_MODULE,
	.open = mooring_debugfs_open,
	.read = seq_read,
	.write = setting_write,
	.llseek = seq_lseek,
	.release = single_release,
};

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
 * The contents are what mooring_debugfs_show() and mooring_debugfs_set() get as the seq_file's private data, or, if they are
 * lines, mooring_debugfs_lines_new() as its argument. They have to stay where they are until the directory was removed.
 */
void mooring_helper_debugfs_create_file(struct dentry *dir, const char *name, void *contents,
					enum mooring_debugfs_kind kind)
{
	switch (kind) {
	case MOORING_DEBUGFS_LINES:
		debugfs_create_file(name, 0400, dir, contents, &lines_fops);
		break;
	case MOORING_DEBUGFS_SETTING:
		debugfs_create_file(name, 0600, dir, contents, &setting_fops);
		break;
	default:
		debugfs_create_file(name, 0400, dir, contents, &mooring_debugfs_fops);
	}
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
