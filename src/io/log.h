/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One event a line, key=value or JSON; to standard error in the foreground, to syslog otherwise. No
 * thread ever waits for another one here. */
#ifndef KNOCKGW_IO_LOG_H
#define KNOCKGW_IO_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "core/log_line.h"

/* Events above level are left out. Call it before any other thread exists. */
void log_open(enum log_level level, enum log_format format, bool foreground);
void log_close(void);

/* Other values from now on, after a reload. Any thread may be logging meanwhile. */
void log_change(enum log_level level, enum log_format format);

/* Whether somebody wants an event of that level. Cheap: ask before formatting addresses. */
bool log_enabled(enum log_level level);

/* Writes "level=… event=EVENT FORMAT…". event: a string literal. Each event may come 20 times at
 * once and 10 times a second on average; of what is beyond, a line event=suppressed tells the
 * number later. Thread safe. What comes from outside must not contain spaces: see log_quote. */
__attribute__((format(printf, 3, 4))) void log_event(enum log_level level, const char *event,
						     const char *format, ...);

/* Writes what is still owed about suppressed lines. Call it every few seconds. */
void log_flush(void);

/* Lines that were suppressed since the start. */
uint64_t log_suppressed(void);

/* Sends every event up to level, as JSON and whatever its rate, to a ring as well; NULL: no more.
 * The ring must outlive all threads that log. */
struct event_ring;
void log_tap(struct event_ring *ring, enum log_level level);

#endif
