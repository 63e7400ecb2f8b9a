/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One worker of the protect role: takes packets from a queue, has the engine judge them, and
 * carries the decision out. */
#ifndef KNOCKGW_IO_PROTECT_WORKER_H
#define KNOCKGW_IO_PROTECT_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/protect.h"
#include "core/reason.h"
#include "core/service.h"
#include "counters.h"
#include "interfaces.h"
#include "ruleset.h"
#include "worker.h"

struct protect_worker;

/* What all protect workers share; must outlive them. */
struct protect_setup {
	struct interfaces *interfaces;
	struct marks marks;
	uint32_t capacity;     /* connections that one worker remembers */
	struct guards *guards; /* shared, against guessing and replay */
	uint32_t holds;        /* of these, how many may have bytes held back */
	struct tally *unknown; /* for packets of no service */
};

/* What a worker did besides what struct tally counts; readable from any thread. */
struct protect_counters {
	_Atomic uint64_t pending;   /* connections whose payload check is still to come */
	_Atomic uint64_t held;      /* of these, connections with bytes held back */
	_Atomic uint64_t resets;    /* connections that failed the payload check, or ran out of time
				     */
	_Atomic uint64_t leftovers; /* stale conntrack entries in the way of an authorised SYN */
	_Atomic uint64_t source_alarms;  /* prefixes that exceeded max_failures */
	_Atomic uint64_t service_alarms; /* times that a service exceeded max_service_failures */
	_Atomic uint64_t failed_lookups; /* conntrack did not answer */
};

/* number: which of the workers this is. Returns NULL with errno set when memory or a socket is not
 * to be had. */
struct protect_worker *protect_worker_new(const struct protect_setup *setup, unsigned int number);
void protect_worker_free(struct protect_worker *protect);

/* The callbacks for worker_start. */
struct worker_callbacks protect_worker_callbacks(struct protect_worker *protect);

const struct protect_counters *protect_worker_counters(const struct protect_worker *protect);

#endif
