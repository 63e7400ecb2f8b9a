/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread that serves one queue, and a pool of them that serves several. */
#ifndef KNOCKGW_IO_WORKER_H
#define KNOCKGW_IO_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/moment.h"
#include "generation.h"
#include "queue.h"

struct worker;

/* What a role does with packets. Called in the worker's thread. Nothing of a generation may be
 * kept for the next call: it may be gone by then. */
struct worker_callbacks {
	/* Judges a packet; must give exactly one verdict for it (queue_verdict), now or later. */
	void (*packet)(void *context, struct worker *worker, struct queue_packet *packet);
	/* Called about once a second and after every batch. Returns when it wants to be called
	 * next, on the clock of worker_time; UINT64_MAX: whenever. */
	uint64_t (*tick)(void *context, struct worker *worker);
	/* Called last, when the pool is stopped; not after a failure of the queue. May be NULL. */
	void (*finish)(void *context, struct worker *worker);
	void *context;
	uint32_t held_max; /* packets that may wait for a later verdict, beside others */
};

struct queue *worker_queue(struct worker *worker);

/* The configuration of the current batch. Good until the callback returns. */
const struct generation *worker_generation(const struct worker *worker);

/* The time of the current batch: milliseconds of CLOCK_BOOTTIME. */
uint64_t worker_time(const struct worker *worker);

/* The time of the current batch by both clocks. */
struct moment worker_moment(const struct worker *worker);

/* The steady clock, now. */
uint64_t worker_now(void);

struct worker_pool;

/* Binds count queues from options->number on and starts a thread for each, with callbacks[i]. room:
 * how many there may ever be, with those of worker_pool_add.
 * Returns NULL with one line in error; then no thread runs. */
struct worker_pool *worker_pool_start(const char *name, const struct queue_options *options,
				      unsigned int count, unsigned int room,
				      const struct worker_callbacks *callbacks,
				      const struct generation *generation,
				      char error[static QUEUE_ERROR_SIZE]);

/* One more, with the next queue number; options as for worker_pool_start. Returns false with one
 * line in error; then the others go on. */
bool worker_pool_add(struct worker_pool *pool, const struct queue_options *options,
		     const struct worker_callbacks *callbacks, char error[static QUEUE_ERROR_SIZE]);

/* Has all workers go over to another generation and returns when none uses an earlier one any more:
 * within the time that a batch takes. */
void worker_pool_use(struct worker_pool *pool, const struct generation *generation);

/* Stops the threads and unbinds the queues. NULL is fine. */
void worker_pool_stop(struct worker_pool *pool);

/* How long the most silent worker has been silent: milliseconds since it last came round, which it
 * does once a second without packets, too. */
uint64_t worker_pool_silence(const struct worker_pool *pool);

/* Becomes readable when a worker had to give up. */
int worker_pool_failure_fd(const struct worker_pool *pool);

/* Counters of a queue, or the sums over all of a pool. */
struct pool_counters {
	uint64_t packets, batches, overruns, malformed, verdict_errors, packets_gone;
	uint64_t waiting, dropped, user_dropped; /* by the kernel's own count */
};
struct pool_counters worker_pool_counters(const struct worker_pool *pool);

/* The same for each of them: the number of queues, the number and counters of one. */
unsigned int worker_pool_size(const struct worker_pool *pool);
uint16_t worker_pool_number(const struct worker_pool *pool, unsigned int index);
struct pool_counters worker_pool_queue(const struct worker_pool *pool, unsigned int index);
const struct histogram *worker_pool_durations(const struct worker_pool *pool, unsigned int index);

#endif
