/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "egress_role.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/flow.h"
#include "egress_worker.h"
#include "log.h"
#include "ruleset.h"
#include "ruleset_egress.h"
#include "state.h"

enum {
	COPY_PACKET = 65535,
	/* Packets of 64 kB: 64 MB at worst, and no more delay than a switch adds. */
	QUEUE_LENGTH = 1024,
};

struct egress_role {
	struct egress_setup setup;
	atomic_bool warned_of_signature;
	struct destination_table *destinations;
	struct state *state;
	struct worker_pool *pool;
	struct egress_worker *workers[FLOW_SHARDS];
};

static struct destination_table *destinations_of_config(const struct config *config)
{
	size_t count = 0;
	size_t used = 0;

	for (size_t i = 0; i < config->egress_count; i++)
		count += config->egress[i].prefix_count;
	struct destination_row *rows = calloc(count + 1, sizeof(*rows));
	if (rows == NULL)
		return NULL;
	for (size_t i = 0; i < config->egress_count; i++) {
		const struct egress_config *egress = &config->egress[i];
		for (size_t k = 0; k < egress->prefix_count; k++)
			rows[used++] =
				(struct destination_row){egress->prefixes[k], &egress->destination};
	}
	struct destination_table *table = destination_table_new(rows, used);
	free(rows);
	return table;
}

static bool start_workers(struct egress_role *role, char error[static QUEUE_ERROR_SIZE])
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
	role->pool = worker_pool_start("egress", &options, role->setup.count, callbacks, error);
	return role->pool != NULL;
}

static uint32_t flows_taken_over(const struct egress_role *role)
{
	uint32_t sum = 0;

	for (unsigned int i = 0; i < role->setup.count; i++)
		sum += table_count(state_table(role->state, i));
	return sum;
}

static bool start(struct egress_role *role, const struct config *config,
		  const struct counters *counters, char error[static STATE_ERROR_SIZE])
{
	unsigned int count = ruleset_egress_queues(config);
	uint32_t capacity = (config->max_flows + count - 1) / count;

	role->setup = (struct egress_setup){
		.destinations = role->destinations = destinations_of_config(config),
		.marks = marks_from_mask(config->mark),
		.set_marks = ruleset_egress_may_pass(config),
		.first_queue = ruleset_egress_queue(config),
		.count = count,
		.unknown = counters_unknown(counters, ROLE_EGRESS),
		.warned_of_signature = &role->warned_of_signature,
	};
	if (role->destinations == NULL)
		return false;
	role->state = state_open(config->state_directory, count, capacity, worker_now(), error);
	if (role->state == NULL)
		return false;
	log_event(LOG_LEVEL_INFO, "state-opened", "directory=%s flows=%u max_flows=%u",
		  config->state_directory, flows_taken_over(role), capacity * count);
	return start_workers(role, error);
}

struct egress_role *egress_role_start(const struct config *config, const struct counters *counters)
{
	char error[STATE_ERROR_SIZE] = "out of memory";
	struct egress_role *role = calloc(1, sizeof(*role));

	if (role != NULL && start(role, config, counters, error))
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
	destination_table_free(role->destinations);
	free(role);
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
