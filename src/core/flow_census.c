/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow_census.h"

static void finish(struct flow_census *census)
{
	for (unsigned int i = 0; i < FLOW_STATES; i++) {
		atomic_store_explicit(&census->results[i], census->counts[i], memory_order_relaxed);
		census->counts[i] = 0;
	}
	census->slot = 0;
	census->seen = 0;
}

void flow_census_step(struct flow_census *census, struct table *flows,
		      unsigned int (*state_number)(const void *value), uint32_t budget)
{
	for (; budget > 0; budget--, census->slot++) {
		/* Behind the last entry there is nothing to see. */
		if (census->seen >= table_count(flows) || census->slot >= table_capacity(flows)) {
			finish(census);
			return;
		}
		const void *value = table_slot(flows, census->slot);
		if (value == NULL)
			continue;
		census->counts[state_number(value)]++;
		census->seen++;
	}
}
