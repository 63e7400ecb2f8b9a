/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One configuration together with what is looked up in it for every packet. Immutable: a reload
 * makes another one, and workers go over to it between two batches (worker_pool_use). */
#ifndef KNOCKGW_IO_GENERATION_H
#define KNOCKGW_IO_GENERATION_H

#include "config.h"

struct generation {
	struct config *config;
	uint64_t number; /* reloads before it */
	struct service_table *services;
	struct destination_table *destinations;
	uint32_t copy_range; /* bytes of a packet that the protect role has to see */
	bool set_marks;      /* egress: the ruleset wants to know what was translated */
};

/* Takes over config. Returns NULL when memory is short; then config is the caller's still. */
struct generation *generation_new(struct config *config);

/* Frees it together with its configuration. No worker may use it any more. NULL is fine. */
void generation_free(struct generation *generation);

#endif
