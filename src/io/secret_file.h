/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secrets in files of their own (notation f:). */
#ifndef KNOCKGW_IO_SECRET_FILE_H
#define KNOCKGW_IO_SECRET_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/secret.h"

/* Reads raw bytes. *truncated tells whether there were more than SECRET_SIZE of them. Refuses what
 * cannot be read, is no regular file, is empty, or may be read or written by others than its owner;
 * but a file of group may be read by that group ((gid_t)-1: none). On failure returns false with
 * what was found and what was expected in error. */
bool secret_file_read(struct secret *secret, const char *path, gid_t group, bool *truncated,
		      char *error, size_t error_size);

#endif
