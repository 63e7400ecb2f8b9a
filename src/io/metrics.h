/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Metrics for Prometheus over HTTP: GET /metrics and nothing else. Connections are few, short and
 * bounded. */
#ifndef KNOCKGW_IO_METRICS_H
#define KNOCKGW_IO_METRICS_H

#include <event2/event.h>

#include "view.h"

struct metrics;

/* Whether the configuration asks for metrics. */
bool metrics_wanted(const struct config *config);

/* Makes a socket where the configuration says; in the file system with owner, group and mode of the
 * control socket. Returns NULL with the reason logged. */
struct metrics *metrics_open(const struct config *config);

/* Serves it from the event loop. daemon is copied. Returns false with the reason logged. */
bool metrics_start(struct metrics *metrics, struct event_base *base,
		   const struct daemon_interface *daemon);

/* NULL is fine. */
void metrics_stop(struct metrics *metrics);

#endif
