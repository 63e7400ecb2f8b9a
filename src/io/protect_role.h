/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The protect role as a whole: its workers and their queues. */
#ifndef KNOCKGW_IO_PROTECT_ROLE_H
#define KNOCKGW_IO_PROTECT_ROLE_H

#include "counters.h"
#include "generation.h"
#include "interfaces.h"
#include "worker.h"

struct protect_role;

/* Binds the queues and starts the workers. generation (its configuration bound to counters) must
 * outlive the role or its next protect_role_use, interfaces and counters must outlive the role.
 * Logs the reason and returns NULL when that fails. */
struct protect_role *protect_role_start(const struct generation *generation,
					struct interfaces *interfaces,
					const struct counters *counters);

/* Goes over to another generation; the one before may be freed when this returns. */
void protect_role_use(struct protect_role *role, const struct generation *generation);

/* Stops the workers and unbinds the queues. NULL is fine. */
void protect_role_stop(struct protect_role *role);

const struct worker_pool *protect_role_pool(const struct protect_role *role);

/* Connections whose payload check is still to come, as of the last second. */
uint64_t protect_role_pending(const struct protect_role *role);

/* How often a source prefix exceeded max_failures, and a service max_service_failures. */
struct protect_alarms {
	uint64_t sources, services;
};
struct protect_alarms protect_role_alarms(const struct protect_role *role);

#endif
