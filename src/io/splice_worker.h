/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One worker of integrity mode in the egress role: takes packets from a queue, lets the splice
 * engine judge them, keeps SYNs waiting until it knows their token, and sends what the engine
 * originates. */
#ifndef KNOCKGW_IO_SPLICE_WORKER_H
#define KNOCKGW_IO_SPLICE_WORKER_H

#include "core/splice.h"
#include "egress_worker.h"

struct splice_worker;

/* What the workers have beside what they share with those of authentication mode. */
struct splice_setup {
	const struct egress_setup *egress; /* marks, whom to warn */
	struct splice_limits limits;       /* of one worker */
	struct promise_cache *promises;    /* what servers negotiated last time, with any worker */
	uint16_t first_queue;
	unsigned int count; /* workers */
	/* The number of the generation whose rules are in the kernel. */
	const _Atomic uint64_t *ruled;
	unsigned int first_number; /* what they count as: behind those of authentication mode */
};

/* number: which of the workers this is, from 0; flows: its table, which must outlive it. Returns
 * NULL with errno set. */
struct splice_worker *splice_worker_new(const struct splice_setup *setup, unsigned int number,
					struct table *flows);

/* SYNs that still wait are dropped with the queue; close that one first. */
void splice_worker_free(struct splice_worker *splice);

struct worker_callbacks splice_worker_callbacks(struct splice_worker *splice);

const struct egress_counters *splice_worker_counters(const struct splice_worker *splice);

#endif
