/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The egress role as a whole: state files, workers and their queues. */
#ifndef KNOCKGW_IO_EGRESS_ROLE_H
#define KNOCKGW_IO_EGRESS_ROLE_H

#include "config.h"
#include "counters.h"
#include "worker.h"

struct egress_role;

/* Starts the workers. Logs one line and returns NULL when that fails. config (bound to counters)
 * and counters must outlive it. */
struct egress_role *egress_role_start(const struct config *config, const struct counters *counters);

/* Stops them. NULL is fine. */
void egress_role_stop(struct egress_role *role);

/* Connections that are translated, as of the last second. */
uint64_t egress_role_flows(const struct egress_role *role);

const struct worker_pool *egress_role_pool(const struct egress_role *role);

#endif
