/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guards.h"

#include <stdlib.h>

#include "limit.h"
#include "replay_guard.h"
#include "siphash.h"

enum {
	SOURCES = 65536, /* prefixes with a count of their own: a megabyte */
	SERVICES = 2048,
	/* An alarm that goes on is repeated after a minute. */
	ALARM_INTERVAL = 60 * 1000,
};

struct guards {
	uint8_t hash_key[16];
	struct limit *sources;
	struct limit *services;
	struct replay_guard *replays;
	struct limit *evictions; /* for the interval of that alarm only */
};

struct guards *guards_new(size_t tokens, const uint8_t hash_key[static 16])
{
	struct guards *guards = calloc(1, sizeof(*guards));

	if (guards == NULL)
		return NULL;
	memcpy(guards->hash_key, hash_key, sizeof(guards->hash_key));
	guards->sources = limit_new(SOURCES, hash_key);
	guards->services = limit_new(SERVICES, hash_key);
	guards->evictions = limit_new(1, hash_key);
	guards->replays = replay_guard_new(tokens, hash_key);
	if (guards->sources != NULL && guards->services != NULL && guards->evictions != NULL &&
	    guards->replays != NULL)
		return guards;
	guards_free(guards);
	return NULL;
}

void guards_free(struct guards *guards)
{
	if (guards == NULL)
		return;
	limit_free(guards->sources);
	limit_free(guards->services);
	limit_free(guards->evictions);
	replay_guard_free(guards->replays);
	free(guards);
}

/* The number of the source's prefix. Its length is part of it, since a reload may change that: what
 * a short prefix did must not be laid at the door of a long one, or the other way round. */
static uint64_t number_of(const struct guards *guards, const struct failure_rules *rules,
			  const struct endpoint *source)
{
	const uint64_t prefix[2] = {
		limit_source(source, rules->ipv4_prefix, rules->ipv6_prefix),
		source->family == FAMILY_IPV4 ? rules->ipv4_prefix : rules->ipv6_prefix,
	};

	return siphash(guards->hash_key, prefix, sizeof(prefix));
}

bool guards_hold(const struct guards *guards, const struct service *service,
		 const struct endpoint *source, uint64_t now)
{
	const struct failure_rules *rules = service->failures;

	return guards != NULL && rules != NULL && rules->back_off > 0 &&
	       limit_holds(guards->sources, number_of(guards, rules, source), now);
}

bool guards_replayed(struct guards *guards, const struct service *service,
		     const struct tuple *tuple, uint32_t isn, uint32_t tsval, uint64_t now,
		     unsigned int *alarms)
{
	if (guards == NULL || service->replay_window == 0 || tsval == 0)
		return false;
	enum replay_finding finding =
		replay_guard_judge(guards->replays, tuple, isn, tsval, service->replay_window, now);
	/* A first eviction is chance; that many in a second are not. */
	if (finding == REPLAY_EVICTED &&
	    limit_count(guards->evictions, 1, 100, ALARM_INTERVAL, now))
		*alarms |= ALARM_REPLAY_TABLE;
	return finding == REPLAY_FOREIGN;
}

static bool is_failure(enum reason reason)
{
	return reason == REASON_TOKEN_WRONG || reason == REASON_PAYLOAD_WRONG;
}

void guards_note(struct guards *guards, struct decision *decision, const struct endpoint *source,
		 uint64_t now)
{
	if (guards == NULL || !is_failure(decision->reason) || decision->service->failures == NULL)
		return;
	const struct service *service = decision->service;
	const struct failure_rules *rules = service->failures;
	/* The service is told by its name, so that a reload does not mix up the counts. */
	uint64_t name = siphash(guards->hash_key, service->name, strlen(service->name));
	uint32_t hold = rules->back_off > 0 ? rules->back_off * 1000 : ALARM_INTERVAL;

	if (rules->max_failures > 0 &&
	    limit_count(guards->sources, number_of(guards, rules, source), rules->max_failures,
			hold, now))
		decision->alarms |= ALARM_SOURCE;
	if (rules->max_service_failures > 0 &&
	    limit_count(guards->services, name, rules->max_service_failures, ALARM_INTERVAL, now))
		decision->alarms |= ALARM_SERVICE;
}
