/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks whether backends accept TCP connections, from the main thread's event loop. */
#ifndef KNOCKGW_IO_HEALTH_H
#define KNOCKGW_IO_HEALTH_H

#include <event2/event.h>

#include "config.h"

struct health;

/* changed: called when a backend went down or came up, after its member down was set. */
struct health *health_new(struct event_base *base, void (*changed)(void *context), void *context);
void health_free(struct health *health);

/* Goes over to the backends of another configuration, which must live until the next call. What is
 * known of a backend that was checked before (same service, same address and port) stays known, and
 * a check of it that is under way goes on.
 * Call it before the ruleset is made from config. Returns false when memory is short; then all is
 * as before. */
bool health_use(struct health *health, struct config *config);

#endif
