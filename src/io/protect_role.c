/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protect_role.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "conntrack.h"
#include "log.h"
#include "protect_worker.h"
#include "ruleset.h"

enum {
	QUEUE_LENGTH = 8192,
	TOKENS_PER_FLOW = 2, /* that replay protection remembers, for each of max_flows */
};

struct protect_role {
	struct protect_setup setup;
	struct worker_pool *pool;
	unsigned int count;
	struct protect_worker *workers[];
};

static struct guards *new_guards(const struct config *config)
{
	uint8_t hash_key[16];

	if (getrandom(hash_key, sizeof(hash_key), 0) != (ssize_t)sizeof(hash_key))
		return NULL;
	return guards_new((size_t)config->max_flows * TOKENS_PER_FLOW, hash_key);
}

/* Without ctnetlink every look-up would fail, each for itself: better say so once, at the start. */
static bool conntrack_answers(char error[static QUEUE_ERROR_SIZE])
{
	const struct tuple nobody = {.source.family = FAMILY_IPV4,
				     .destination.family = FAMILY_IPV4};
	struct conntrack *conntrack = conntrack_open();
	struct conntrack_entry entry;
	bool answers = conntrack != NULL && conntrack_lookup(conntrack, &nobody, &entry) >= 0;

	if (!answers)
		snprintf(error, QUEUE_ERROR_SIZE,
			 "connection tracking cannot be asked: %s (the kernel needs "
			 "nf_conntrack_netlink)",
			 strerror(errno));
	conntrack_close(conntrack);
	return answers;
}

static bool start_workers(struct protect_role *role, const struct generation *generation,
			  char error[static QUEUE_ERROR_SIZE])
{
	const struct queue_options options = {
		.number = ruleset_protect_queue(generation->config),
		.copy_range = generation->copy_range,
		.max_length = QUEUE_LENGTH,
	};
	struct worker_callbacks *callbacks = calloc(role->count, sizeof(*callbacks));

	snprintf(error, QUEUE_ERROR_SIZE, "out of memory");
	if (callbacks == NULL || role->setup.guards == NULL) {
		free(callbacks);
		return false;
	}
	for (unsigned int i = 0; i < role->count; i++) {
		role->workers[i] = protect_worker_new(&role->setup, i);
		if (role->workers[i] == NULL) {
			snprintf(error, QUEUE_ERROR_SIZE, "cannot set up a worker: %s",
				 strerror(errno));
			free(callbacks);
			return false;
		}
		callbacks[i] = protect_worker_callbacks(role->workers[i]);
	}
	role->pool = worker_pool_start("protect", &options, role->count, role->count, callbacks,
				       generation, error);
	free(callbacks);
	return role->pool != NULL;
}

struct protect_role *protect_role_start(const struct generation *generation,
					struct interfaces *interfaces,
					const struct counters *counters)
{
	const struct config *config = generation->config;
	char error[QUEUE_ERROR_SIZE] = "out of memory";
	struct protect_role *role =
		calloc(1, sizeof(*role) + config->queue_count * sizeof(role->workers[0]));

	if (role != NULL) {
		role->count = config->queue_count;
		role->setup = (struct protect_setup){
			.interfaces = interfaces,
			.marks = marks_from_mask(config->mark),
			.capacity = config->max_flows / config->queue_count + 1,
			.guards = new_guards(config),
			.holds = (config->max_held + config->queue_count - 1) / config->queue_count,
			.unknown = counters_unknown(counters, ROLE_PROTECT),
		};
		if (conntrack_answers(error) && start_workers(role, generation, error))
			return role;
	}
	log_event(LOG_LEVEL_ERROR, "start-failed", "role=protect reason=\"%s\"", error);
	protect_role_stop(role);
	return NULL;
}

void protect_role_stop(struct protect_role *role)
{
	if (role == NULL)
		return;
	worker_pool_stop(role->pool);
	for (unsigned int i = 0; i < role->count; i++)
		protect_worker_free(role->workers[i]);
	guards_free(role->setup.guards);
	free(role);
}

void protect_role_use(struct protect_role *role, const struct generation *generation)
{
	worker_pool_use(role->pool, generation);
}

const struct worker_pool *protect_role_pool(const struct protect_role *role)
{
	return role->pool;
}

uint64_t protect_role_pending(const struct protect_role *role)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < role->count; i++)
		sum += counter_read(&protect_worker_counters(role->workers[i])->pending);
	return sum;
}

struct protect_alarms protect_role_alarms(const struct protect_role *role)
{
	struct protect_alarms sum = {0};

	for (unsigned int i = 0; i < role->count; i++) {
		const struct protect_counters *one = protect_worker_counters(role->workers[i]);
		sum.sources += counter_read(&one->source_alarms);
		sum.services += counter_read(&one->service_alarms);
	}
	return sum;
}
