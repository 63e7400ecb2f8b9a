/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts flows by state, a piece of the table at a time, so that no packet waits for it. */
#ifndef KNOCKGW_CORE_FLOW_CENSUS_H
#define KNOCKGW_CORE_FLOW_CENSUS_H

#include "counter.h"
#include "flow.h"

struct flow_census {
	uint32_t slot; /* where the count goes on */
	uint32_t seen;
	uint32_t counts[FLOW_STATES];
	_Atomic uint64_t
		results[FLOW_STATES]; /* of the last whole count; any thread may read them */
};

/* Looks at the next budget slots. state_number tells the state of a value of the table: a number
 * below FLOW_STATES. */
void flow_census_step(struct flow_census *census, struct table *flows,
		      unsigned int (*state_number)(const void *value), uint32_t budget);

#endif
