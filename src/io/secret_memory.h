/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for secrets: not swapped, not in core dumps, zeros in the child of a fork, wiped when
 * freed. */
#ifndef KNOCKGW_IO_SECRET_MEMORY_H
#define KNOCKGW_IO_SECRET_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Returns size bytes of zeros on pages of their own, or NULL when memory is short or size is 0.
 * *locked (may be NULL) becomes false when the pages could not be locked (RLIMIT_MEMLOCK) and may
 * be swapped out; the memory is usable nevertheless. */
void *secret_memory_new(size_t size, bool *locked);

/* Wipes and unmaps what secret_memory_new(size) returned. NULL is fine. */
void secret_memory_free(void *memory, size_t size);

#endif
