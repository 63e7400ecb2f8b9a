/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The egress role as a whole: state files, workers and their queues. */
#ifndef KNOCKGW_IO_EGRESS_ROLE_H
#define KNOCKGW_IO_EGRESS_ROLE_H

#include "counters.h"
#include "generation.h"
#include "worker.h"

struct egress_role;

/* Starts the workers. Logs one line and returns NULL when that fails. generation (its
 * configuration bound to counters) must outlive the role or its next egress_role_use, counters the
 * role. */
struct egress_role *egress_role_start(const struct generation *generation,
				      const struct counters *counters);

/* Goes over to another generation; the one before may be freed when this returns. */
void egress_role_use(struct egress_role *role, const struct generation *generation);

/* The rules in the kernel are those of this generation from now on. Until then a new connection to
 * a destination whose mode it changes is dropped: the rules would lead it past its token. */
void egress_role_ruled(struct egress_role *role, const struct generation *generation);

/* Starts what another generation needs besides: integrity mode has workers of its own. Logs one
 * line and returns false when that fails; what runs goes on. */
bool egress_role_extend(struct egress_role *role, const struct generation *generation);

/* Stops them. NULL is fine. */
void egress_role_stop(struct egress_role *role);

/* Connections that are translated, as of the last second. */
uint64_t egress_role_flows(const struct egress_role *role);

/* Of these, those in a state (see flow_state_name), as of the last time that all were counted. */
uint64_t egress_role_flows_in(const struct egress_role *role, unsigned int state);

const struct worker_pool *egress_role_pool(const struct egress_role *role);

#endif
