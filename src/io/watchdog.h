/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tells the service manager that the daemon is alive: the main loop and all workers. */
#ifndef KNOCKGW_IO_WATCHDOG_H
#define KNOCKGW_IO_WATCHDOG_H

#include <stdint.h>

struct event_base;
struct watchdog;

/* How long the most silent worker has been silent, in milliseconds. */
typedef uint64_t watchdog_silence(void *context);

/* Starts in that loop. Where a service manager asks for it (WATCHDOG_USEC), it is told WATCHDOG=1
 * three times in that interval, as long as no worker has been silent for it. A silent worker is
 * logged with and without a service manager. NULL when memory is short. */
struct watchdog *watchdog_new(struct event_base *base, watchdog_silence *silence, void *context);

/* NULL is fine. */
void watchdog_free(struct watchdog *watchdog);

#endif
