/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "egress_role.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/flow.h"
#include "core/secret.h"
#include "egress_worker.h"
#include "log.h"
#include "ruleset.h"
#include "ruleset_egress.h"
#include "splice_worker.h"
#include "state.h"

enum {
	COPY_PACKET = 65535,
	/* Packets of 64 kB: 64 MB at worst, and no more delay than a switch adds. */
	QUEUE_LENGTH = 1024,
	/* Connections that are half-made at once, over all workers, and for each at least. */
	HALF_MADE = 1024,
	HALF_MADE_LEAST = 64,
	/* Whose habits are remembered. */
	SERVERS = 4096,
};

struct egress_role {
	struct egress_setup setup;
	atomic_bool warned_of_signature;
	_Atomic uint64_t ruled; /* see splice_setup */
	struct queue_options queues;
	struct state *state;
	struct worker_pool *pool; /* workers, and behind them splice_workers */
	struct egress_worker *workers[FLOW_SHARDS];
	/* integrity mode, from the first generation on that has such a destination */
	struct splice_setup splice;
	struct promise_cache *promises;
	struct state *splice_state;
	struct splice_worker *splice_workers[FLOW_SHARDS];
	unsigned int splice_running;
};

static bool start_workers(struct egress_role *role, const struct generation *generation,
			  char error[static QUEUE_ERROR_SIZE])
{
	struct worker_callbacks callbacks[FLOW_SHARDS];

	for (unsigned int i = 0; i < role->setup.count; i++) {
		role->workers[i] = egress_worker_new(&role->setup, i, state_table(role->state, i));
		if (role->workers[i] == NULL)
			return false;
		callbacks[i] = egress_worker_callbacks(role->workers[i]);
	}
	role->pool = worker_pool_start("egress", &role->queues, role->setup.count,
				       2 * role->setup.count, callbacks, generation, error);
	return role->pool != NULL;
}

static bool start_splice_worker(struct egress_role *role, unsigned int number,
				char error[static QUEUE_ERROR_SIZE])
{
	struct splice_worker **splice = &role->splice_workers[number];

	if (*splice == NULL)
		*splice = splice_worker_new(&role->splice, number,
					    state_table(role->splice_state, number));
	if (*splice == NULL) {
		snprintf(error, QUEUE_ERROR_SIZE, "integrity mode: %s", strerror(errno));
		return false;
	}
	const struct worker_callbacks callbacks = splice_worker_callbacks(*splice);
	return worker_pool_add(role->pool, &role->queues, &callbacks, error);
}

static struct promise_cache *make_promises(void)
{
	struct promise_cache *promises = NULL;
	uint8_t hash_key[16];

	if (getrandom(hash_key, sizeof(hash_key), 0) == (ssize_t)sizeof(hash_key))
		promises = promise_cache_new(SERVERS, hash_key);
	secret_wipe(hash_key, sizeof(hash_key));
	return promises;
}

static bool prepare_splice(struct egress_role *role, const struct config *config)
{
	struct splice_setup *splice = &role->splice;
	uint32_t share;

	if (role->promises == NULL)
		role->promises = make_promises();
	if (role->promises == NULL)
		return false;

	*splice = (struct splice_setup){
		.egress = &role->setup,
		.limits = config->integrity,
		.promises = role->promises,
		.ruled = &role->ruled,
		.first_queue = ruleset_splice_queue(config),
		.count = ruleset_splice_queues(config),
		.first_number = role->setup.count,
	};
	share = HALF_MADE / splice->count;
	splice->limits.half_made = share > HALF_MADE_LEAST ? share : HALF_MADE_LEAST;
	splice->limits.half_made_per_client = splice->limits.half_made / 4;
	return true;
}

static uint32_t capacity_of(const struct config *config, unsigned int count)
{
	return (config->max_flows + count - 1) / count;
}

static void log_state(const struct config *config, const char *mode, const struct state *state,
		      unsigned int count)
{
	uint32_t flows = 0;

	for (unsigned int i = 0; i < count; i++)
		flows += table_count(state_table(state, i));
	log_event(LOG_LEVEL_INFO, "state-opened", "directory=%s mode=%s flows=%u max_flows=%u",
		  config->state_directory, mode, flows, capacity_of(config, count) * count);
}

/* Goes on where an earlier attempt may have failed. */
static bool start_splice(struct egress_role *role, const struct config *config,
			 char error[static STATE_ERROR_SIZE])
{
	if (ruleset_splice_queues(config) == 0)
		return true;
	if (role->splice_state == NULL) {
		if (!prepare_splice(role, config)) {
			snprintf(error, STATE_ERROR_SIZE, "integrity mode: %s", strerror(errno));
			return false;
		}
		role->splice_state =
			state_open(config->state_directory, STATE_INTEGRITY, role->splice.count,
				   capacity_of(config, role->splice.count), worker_now(), error);
		if (role->splice_state == NULL)
			return false;
		log_state(config, "integrity", role->splice_state, role->splice.count);
	}
	while (role->splice_running < role->splice.count) {
		if (!start_splice_worker(role, role->splice_running, error))
			return false;
		role->splice_running++;
	}
	return true;
}

static bool start(struct egress_role *role, const struct generation *generation,
		  const struct counters *counters, char error[static STATE_ERROR_SIZE])
{
	const struct config *config = generation->config;
	unsigned int count = ruleset_egress_queues(config);

	atomic_init(&role->ruled, UINT64_MAX);
	role->setup = (struct egress_setup){
		.marks = marks_from_mask(config->mark),
		.first_queue = ruleset_egress_queue(config),
		.count = count,
		.unknown = counters_unknown(counters, ROLE_EGRESS),
		.warned_of_signature = &role->warned_of_signature,
	};
	role->queues = (struct queue_options){
		.number = role->setup.first_queue,
		.copy_range = COPY_PACKET,
		.max_length = QUEUE_LENGTH,
	};
	role->state = state_open(config->state_directory, STATE_FLOWS, count,
				 capacity_of(config, count), worker_now(), error);
	if (role->state == NULL)
		return false;
	log_state(config, "auth", role->state, count);
	return start_workers(role, generation, error) && start_splice(role, config, error);
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
	for (unsigned int i = 0; i < FLOW_SHARDS; i++)
		splice_worker_free(role->splice_workers[i]);
	promise_cache_free(role->promises);
	state_close(role->state);
	state_close(role->splice_state);
	free(role);
}

bool egress_role_extend(struct egress_role *role, const struct generation *generation)
{
	char error[STATE_ERROR_SIZE] = "out of memory";

	if (start_splice(role, generation->config, error))
		return true;
	log_event(LOG_LEVEL_ERROR, "start-failed", "role=egress reason=\"%s\"", error);
	return false;
}

void egress_role_use(struct egress_role *role, const struct generation *generation)
{
	worker_pool_use(role->pool, generation);
}

void egress_role_ruled(struct egress_role *role, const struct generation *generation)
{
	if (generation->config->manage_ruleset)
		atomic_store(&role->ruled, generation->number);
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
	for (unsigned int i = 0; i < role->splice_running; i++)
		sum += counter_read(&splice_worker_counters(role->splice_workers[i])->flows);
	return sum;
}

uint64_t egress_role_flows_in(const struct egress_role *role, unsigned int state)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < role->setup.count; i++) {
		const struct egress_counters *counters = egress_worker_counters(role->workers[i]);
		sum += counter_read(&counters->census.results[state]);
	}
	for (unsigned int i = 0; i < role->splice_running; i++) {
		const struct egress_counters *counters =
			splice_worker_counters(role->splice_workers[i]);
		sum += counter_read(&counters->census.results[state]);
	}
	return sum;
}
