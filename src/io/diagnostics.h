/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Collecting diagnostics; what is done with them afterwards is in config.h. */
#ifndef KNOCKGW_IO_DIAGNOSTICS_H
#define KNOCKGW_IO_DIAGNOSTICS_H

#include <stdarg.h>
#include <stdbool.h>

#include "config.h"

/* Where something stands. */
struct location {
	const char *path;
	unsigned int file; /* rank of the file when sorting */
	unsigned int line; /* 0: the file as a whole */
};

/* Adds the line "path:line: error: text" or "path:line: warning: text". Control characters become
 * '?', so that it stays one line. When memory is short only the count of errors grows. */
void diagnostics_add(struct diagnostics *diagnostics, bool error, struct location location,
		     const char *format, va_list arguments) __attribute__((format(printf, 4, 0)));

/* By file, then by line, then in the order in which they were added. */
void diagnostics_sort(struct diagnostics *diagnostics);

#endif
