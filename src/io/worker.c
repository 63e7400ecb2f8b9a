/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

enum { TICK = 1000 };

struct worker {
	struct worker_pool *pool;
	struct queue *queue;
	struct worker_callbacks callbacks;
	struct moment time;
	_Atomic uint64_t seen; /* time.steady, for other threads */
	uint64_t due;          /* when the role wants its next tick */
	/* The generation of the current batch, NULL between batches. As long as it is named here
	 * it is not freed: a hazard pointer. */
	_Atomic(const struct generation *) used;
	pthread_t thread;
};

struct worker_pool {
	char name[12];
	uint16_t first;
	unsigned int count;
	unsigned int room;
	_Atomic bool stopping;
	_Atomic(const struct generation *) generation;
	int stop;    /* eventfd: wakes workers that wait when they are to stop */
	int failure; /* eventfd: readable when one gave up */
	struct worker workers[];
};

struct queue *worker_queue(struct worker *worker)
{
	return worker->queue;
}

const struct generation *worker_generation(const struct worker *worker)
{
	return atomic_load_explicit(&worker->used, memory_order_relaxed);
}

uint64_t worker_time(const struct worker *worker)
{
	return worker->time.steady;
}

struct moment worker_moment(const struct worker *worker)
{
	return worker->time;
}

uint64_t worker_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct moment moment_now(void)
{
	return (struct moment){.steady = worker_now(), .wall = time(NULL)};
}

static void take_packet(void *context, struct queue_packet *packet)
{
	struct worker *worker = context;

	/* The kernel had no memory for the bytes, or was just binding the queue. */
	if (packet->payload == NULL) {
		queue_verdict(worker->queue, packet->id, NF_DROP, NULL, NULL, 0);
		return;
	}
	worker->callbacks.packet(worker->callbacks.context, worker, packet);
}

static void raise_event(int fd)
{
	const uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));

	(void)written;
}

static void await_packets(const struct worker *worker)
{
	struct pollfd polled[] = {
		{.fd = queue_fd(worker->queue), .events = POLLIN},
		{.fd = worker->pool->stop, .events = POLLIN},
	};

	uint64_t wait = worker->due > worker->time.steady ? worker->due - worker->time.steady : 0;

	poll(polled, 2, wait < TICK ? (int)wait : TICK);
}

/* Takes hold of the current generation. It may have been replaced, and freed, before our claim
 * was to be seen: then the claim is for nothing, and the new one is taken. */
static void begin_batch(struct worker *worker)
{
	const struct generation *generation;

	do {
		generation = atomic_load(&worker->pool->generation);
		atomic_store(&worker->used, generation);
	} while (atomic_load(&worker->pool->generation) != generation);
	worker->time = moment_now();
	atomic_store_explicit(&worker->seen, worker->time.steady, memory_order_relaxed);
	queue_widen(worker->queue, generation->copy_range);
}

static void end_batch(struct worker *worker)
{
	atomic_store(&worker->used, NULL);
}

static void finish(struct worker *worker)
{
	if (worker->callbacks.finish == NULL)
		return;
	begin_batch(worker);
	worker->callbacks.finish(worker->callbacks.context, worker);
	queue_flush(worker->queue);
	end_batch(worker);
}

static void *serve(void *argument)
{
	struct worker *worker = argument;
	int received = 0;

	while (!atomic_load_explicit(&worker->pool->stopping, memory_order_relaxed)) {
		/* Under load the next batch is there already: it need not be asked for. */
		if (received == 0)
			await_packets(worker);
		begin_batch(worker);
		received = queue_receive(worker->queue, take_packet, worker);
		if (received >= 0) {
			worker->due = worker->callbacks.tick(worker->callbacks.context, worker);
			queue_flush(worker->queue);
		}
		end_batch(worker);
		if (received < 0)
			break;
	}
	if (received >= 0) {
		finish(worker);
		return NULL;
	}
	log_event(LOG_LEVEL_ERROR, "queue-failed", "role=%s reason=\"%s\"", worker->pool->name,
		  strerror(errno));
	raise_event(worker->pool->failure);
	return NULL;
}

/* Signals are for the main thread alone. */
static int start_thread(struct worker *worker, unsigned int number)
{
	sigset_t all, before;
	char name[16];

	sigfillset(&all);
	/* The filter of system calls speaks by it. */
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failure = pthread_create(&worker->thread, NULL, serve, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failure != 0)
		return failure;
	snprintf(name, sizeof(name), "%.10s/%u", worker->pool->name, number % 1000);
	pthread_setname_np(worker->thread, name);
	return 0;
}

static bool start_worker(struct worker_pool *pool, const struct queue_options *options,
			 unsigned int number, const struct worker_callbacks *callbacks,
			 char error[static QUEUE_ERROR_SIZE])
{
	struct worker *worker = &pool->workers[number];
	struct queue_options own = *options;

	own.number = (uint16_t)(options->number + number);
	own.max_length += callbacks->held_max;
	worker->pool = pool;
	worker->callbacks = *callbacks;
	worker->time = moment_now();
	worker->due = UINT64_MAX;
	atomic_init(&worker->seen, worker->time.steady);
	worker->queue = queue_open(&own, error);
	if (worker->queue == NULL)
		return false;
	int failure = start_thread(worker, number);
	if (failure == 0)
		return true;
	snprintf(error, QUEUE_ERROR_SIZE, "cannot start a thread: %s", strerror(failure));
	queue_close(worker->queue);
	return false;
}

bool worker_pool_add(struct worker_pool *pool, const struct queue_options *options,
		     const struct worker_callbacks *callbacks, char error[static QUEUE_ERROR_SIZE])
{
	if (pool->count == pool->room) {
		snprintf(error, QUEUE_ERROR_SIZE, "no room for another worker");
		return false;
	}
	if (!start_worker(pool, options, pool->count, callbacks, error))
		return false;
	pool->count++;
	return true;
}

struct worker_pool *worker_pool_start(const char *name, const struct queue_options *options,
				      unsigned int count, unsigned int room,
				      const struct worker_callbacks *callbacks,
				      const struct generation *generation,
				      char error[static QUEUE_ERROR_SIZE])
{
	struct worker_pool *pool = calloc(1, sizeof(*pool) + room * sizeof(pool->workers[0]));

	if (pool == NULL) {
		snprintf(error, QUEUE_ERROR_SIZE, "out of memory");
		return NULL;
	}
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	pool->first = options->number;
	pool->room = room;
	atomic_init(&pool->generation, generation);
	pool->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pool->failure = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool started = pool->stop >= 0 && pool->failure >= 0;
	if (!started)
		snprintf(error, QUEUE_ERROR_SIZE, "eventfd: %s", strerror(errno));
	for (unsigned int i = 0; started && i < count; i++)
		started = worker_pool_add(pool, options, &callbacks[i], error);
	if (started)
		return pool;
	worker_pool_stop(pool);
	return NULL;
}

void worker_pool_use(struct worker_pool *pool, const struct generation *generation)
{
	const struct timespec moment = {.tv_nsec = 20000};

	atomic_store(&pool->generation, generation);
	for (unsigned int i = 0; i < pool->count; i++) {
		const struct generation *used = atomic_load(&pool->workers[i].used);
		while (used != NULL && used != generation) {
			nanosleep(&moment, NULL);
			used = atomic_load(&pool->workers[i].used);
		}
	}
}

void worker_pool_stop(struct worker_pool *pool)
{
	if (pool == NULL)
		return;
	atomic_store_explicit(&pool->stopping, true, memory_order_relaxed);
	if (pool->stop >= 0)
		raise_event(pool->stop);
	for (unsigned int i = 0; i < pool->count; i++) {
		pthread_join(pool->workers[i].thread, NULL);
		queue_close(pool->workers[i].queue);
	}
	if (pool->stop >= 0)
		close(pool->stop);
	if (pool->failure >= 0)
		close(pool->failure);
	free(pool);
}

uint64_t worker_pool_silence(const struct worker_pool *pool)
{
	uint64_t now = worker_now();
	uint64_t longest = 0;

	for (unsigned int i = 0; i < pool->count; i++) {
		uint64_t seen = atomic_load_explicit(&pool->workers[i].seen, memory_order_relaxed);
		if (seen < now && now - seen > longest)
			longest = now - seen;
	}
	return longest;
}

int worker_pool_failure_fd(const struct worker_pool *pool)
{
	return pool->failure;
}

unsigned int worker_pool_size(const struct worker_pool *pool)
{
	return pool->count;
}

uint16_t worker_pool_number(const struct worker_pool *pool, unsigned int index)
{
	return (uint16_t)(pool->first + index);
}

const struct histogram *worker_pool_durations(const struct worker_pool *pool, unsigned int index)
{
	return &queue_counters(pool->workers[index].queue)->durations;
}

struct pool_counters worker_pool_queue(const struct worker_pool *pool, unsigned int index)
{
	const struct queue_counters *own = queue_counters(pool->workers[index].queue);
	struct queue_kernel_counters kernel = {0};

	queue_kernel_counters(worker_pool_number(pool, index), &kernel);
	return (struct pool_counters){
		.packets = counter_read(&own->packets),
		.batches = counter_read(&own->batches),
		.overruns = counter_read(&own->overruns),
		.malformed = counter_read(&own->malformed),
		.verdict_errors = counter_read(&own->verdict_errors),
		.packets_gone = counter_read(&own->packets_gone),
		.waiting = kernel.waiting,
		.dropped = kernel.dropped,
		.user_dropped = kernel.user_dropped,
	};
}

struct pool_counters worker_pool_counters(const struct worker_pool *pool)
{
	struct pool_counters sum = {0};

	for (unsigned int i = 0; i < pool->count; i++) {
		const struct pool_counters one = worker_pool_queue(pool, i);

		sum.packets += one.packets;
		sum.batches += one.batches;
		sum.overruns += one.overruns;
		sum.malformed += one.malformed;
		sum.verdict_errors += one.verdict_errors;
		sum.packets_gone += one.packets_gone;
		sum.waiting += one.waiting;
		sum.dropped += one.dropped;
		sum.user_dropped += one.user_dropped;
	}
	return sum;
}
