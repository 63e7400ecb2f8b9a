/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "egress_role.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/flow.h"
#include "egress_worker.h"
#include "log.h"
#include "ruleset.h"
#include "state.h"

enum {
	COPY_PACKET = 65535,
	/* Packets of 64 kB: 64 MB at worst, and no more delay than a switch adds. */
	QUEUE_LENGTH = 1024,
};

struct egress_role {
	struct egress_setup setup;
	atomic_bool warned_of_signature;
	struct state *state;
	struct worker_pool *pool;
	struct egress_worker *workers[FLOW_SHARDS];
};

static bool start_workers(struct egress_role *role, const struct generation *generation,
			  char error[static QUEUE_ERROR_SIZE])
{
	const struct queue_options options = {
		.number = role->setup.first_queue,
		.copy_range = COPY_PACKET,
		.max_length = QUEUE_LENGTH,
	};
	struct worker_callbacks callbacks[FLOW_SHARDS];

	for (unsigned int i = 0; i < role->setup.count; i++) {
		role->workers[i] = egress_worker_new(&role->setup, i, state_table(role->state, i));
		if (role->workers[i] == NULL)
			return false;
		callbacks[i] = egress_worker_callbacks(role->workers[i]);
	}
	role->pool = worker_pool_start("egress", &options, role->setup.count, callbacks, generation,
				       error);
	return role->pool != NULL;
}

static uint32_t flows_taken_over(const struct egress_role *role)
{
	uint32_t sum = 0;

	for (unsigned int i = 0; i < role->setup.count; i++)
		sum += table_count(state_table(role->state, i));
	return sum;
}

static bool start(struct egress_role *role, const struct generation *generation,
		  const struct counters *counters, char error[static STATE_ERROR_SIZE])
{
	const struct config *config = generation->config;
	unsigned int count = ruleset_egress_queues(config);
	uint32_t capacity = (config->max_flows + count - 1) / count;

	role->setup = (struct egress_setup){
		.marks = marks_from_mask(config->mark),
		.first_queue = ruleset_egress_queue(config),
		.count = count,
		.unknown = counters_unknown(counters, ROLE_EGRESS),
		.warned_of_signature = &role->warned_of_signature,
	};
	role->state = state_open(config->state_directory, count, capacity, worker_now(), error);
	if (role->state == NULL)
		return false;
	log_event(LOG_LEVEL_INFO, "state-opened", "directory=%s flows=%u max_flows=%u",
		  config->state_directory, flows_taken_over(role), capacity * count);
	return start_workers(role, generation, error);
}

struct egress_role *egress_role_start(const struct generation *generation,
				      const struct counters *counters)
{
	char error[STATE_ERROR_SIZE] = "out of memory";
	struct egress_role *role = calloc(1, sizeof(*role));

	if (role != NULL && start(role, generation, counters, error))
		return role;
	log_event(LOG_LEVEL_ERROR, "start-failed", "role=egress reason=\"%s\"", error);
	egress_role_stop(role);
	return NULL;
}

void egress_role_stop(struct egress_role *role)
{
	if (role == NULL)
		return;
	worker_pool_stop(role->pool);
	for (unsigned int i = 0; i < role->setup.count; i++)
		egress_worker_free(role->workers[i]);
	state_close(role->state);
	free(role);
}

void egress_role_use(struct egress_role *role, const struct generation *generation)
{
	worker_pool_use(role->pool, generation);
}

const struct worker_pool *egress_role_pool(const struct egress_role *role)
{
	return role->pool;
}

uint64_t egress_role_flows(const struct egress_role *role)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < role->setup.count; i++)
		sum += counter_read(&egress_worker_counters(role->workers[i])->flows);
	return sum;
}

uint64_t egress_role_flows_in(const struct egress_role *role, unsigned int state)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < role->setup.count; i++) {
		const struct egress_counters *counters = egress_worker_counters(role->workers[i]);
		sum += counter_read(&counters->census.results[state]);
	}
	return sum;
}
