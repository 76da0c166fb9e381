/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MOORING_DEBUGFS_HELPERS_H
#define MOORING_DEBUGFS_HELPERS_H

#include <linux/types.h>

struct dentry;
struct seq_file;

/* What a file's contents are; the numbers are also in io.rs. */
enum mooring_debugfs_kind {
	MOORING_DEBUGFS_WHOLE = 0,
	MOORING_DEBUGFS_LINES = 1,
	MOORING_DEBUGFS_SETTING = 2,
};

struct dentry *mooring_helper_debugfs_create_dir(const char *name);
void mooring_helper_debugfs_create_file(struct dentry *dir, const char *name, void *contents,
					enum mooring_debugfs_kind kind);
void mooring_helper_debugfs_remove_dir(struct dentry *dir);

/* In io.rs. */
int mooring_debugfs_show(struct seq_file *seq, void *unused);
int mooring_debugfs_set(void *contents, const char *text, size_t len);
void *mooring_debugfs_lines_new(void *contents);
void mooring_debugfs_lines_free(void *open);
bool mooring_debugfs_lines_go_to(void *open, s64 position);
int mooring_debugfs_lines_show(struct seq_file *seq, void *line);

#endif
