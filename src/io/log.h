/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One event a line, key=value; to standard error in the foreground, to syslog otherwise. */
#ifndef KNOCKGW_IO_LOG_H
#define KNOCKGW_IO_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

/* Events above level are left out. Call it before any other thread exists. */
void log_open(enum log_level level, bool foreground);
void log_close(void);

/* Whether an event of that level would be written. Cheap: ask before formatting addresses. */
bool log_enabled(enum log_level level);

/* Writes "level=… event=EVENT FORMAT…". Each event may come 20 times at once and 10 times a second
 * on average; of what is beyond, a line event=suppressed tells the number later. Thread safe.
 * What comes from outside must not contain spaces or line ends: see log_quote. */
__attribute__((format(printf, 3, 4))) void log_event(enum log_level level, const char *event,
						     const char *format, ...);

/* Writes what is still owed about suppressed lines. Call it every few seconds. */
void log_flush(void);

/* Copies text between double quotes, with backslash before quotes and backslashes and \xNN for what
 * is not printable; cut to fit. Returns quoted. */
char *log_quote(char *quoted, size_t size, const char *text);

#endif
