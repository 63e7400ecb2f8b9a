/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One worker of the egress role: takes packets from a queue, has the engine translate them, and
 * gives them back. */
#ifndef KNOCKGW_IO_EGRESS_WORKER_H
#define KNOCKGW_IO_EGRESS_WORKER_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/flow_census.h"
#include "core/reason.h"
#include "core/table.h"
#include "counters.h"
#include "ruleset.h"
#include "worker.h"

struct egress_worker;

/* What all egress workers share; must outlive them. */
struct egress_setup {
	struct marks marks;
	uint16_t first_queue;
	unsigned int count;    /* workers */
	struct tally *unknown; /* for packets of no destination */
	/* Whether somebody was told of segments that cannot be translated: once is enough. */
	atomic_bool *warned_of_signature;
};

/* What a worker did besides what struct tally counts; readable from any thread. */
struct egress_counters {
	_Atomic uint64_t handed_on; /* ICMP errors that belong to another worker */
	_Atomic uint64_t flows;
	struct flow_census census; /* of these, by state */
	uint64_t counted; /* when the last piece of the census was done; the worker's alone */
};

/* Counts the flows of a worker, a piece of its table at a time (see flow_census_step). */
void egress_counters_take(struct egress_counters *counters, struct table *flows,
			  unsigned int (*state_number)(const void *value), uint64_t now);

/* Which of the workers of a mode one is. */
struct egress_shard {
	uint16_t first_queue; /* of that mode */
	unsigned int count;   /* workers */
	unsigned int number;
};

/* Hands a packet on to the worker that has the connections from that port of the client, flags
 * beside the verdict. All errors come to the first worker; which one they are about only the quote
 * tells. Segments come to the wrong one while the rules are those of another number of queues:
 * after a start that found the old ones. There the flow is not known, and must not pass
 * untranslated for that. Returns false when the packet is right where it is. */
bool egress_hand_on(const struct egress_shard *own, struct worker *worker,
		    struct egress_counters *counters, const struct queue_packet *queued,
		    uint16_t client_port, uint32_t flags);

/* number: which of the workers this is; flows: its table, which must outlive it. Returns NULL when
 * memory is short. */
struct egress_worker *egress_worker_new(const struct egress_setup *setup, unsigned int number,
					struct table *flows);
void egress_worker_free(struct egress_worker *egress);

struct worker_callbacks egress_worker_callbacks(struct egress_worker *egress);

const struct egress_counters *egress_worker_counters(const struct egress_worker *egress);

#endif
