/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct counters {
	unsigned int workers;
	struct tally *first; /* sorted */
	uint64_t retired[ROLE_COUNT][REASON_COUNT];
};

const char *role_word(enum role role)
{
	return role == ROLE_PROTECT ? "protect" : "egress";
}

static int compare(const struct tally *tally, enum role role, const char *service, const char *key)
{
	int order = (tally->role > role) - (tally->role < role);

	if (order == 0)
		order = strcmp(tally->service, service);
	return order != 0 ? order : strcmp(tally->key, key);
}

static struct tally *make(const struct counters *counters, enum role role, const char *service,
			  const char *key)
{
	size_t size = sizeof(struct tally) + counters->workers * sizeof(struct tally_share);
	struct tally *tally = aligned_alloc(_Alignof(struct tally), size);

	if (tally == NULL)
		return NULL;
	memset(tally, 0, size);
	tally->role = role;
	snprintf(tally->service, sizeof(tally->service), "%s", service);
	snprintf(tally->key, sizeof(tally->key), "%s", key);
	return tally;
}

/* The tally of a name, made if need be, with one more use. */
static struct tally *take(struct counters *counters, enum role role, const char *service,
			  const char *key)
{
	struct tally **at = &counters->first;
	int order = -1;

	while (*at != NULL && (order = compare(*at, role, service, key)) < 0)
		at = &(*at)->next;
	if (*at == NULL || order != 0) {
		struct tally *made = make(counters, role, service, key);
		if (made == NULL)
			return NULL;
		made->next = *at;
		*at = made;
	}
	(*at)->uses++;
	return *at;
}

static void give_up(struct counters *counters, struct tally *tally)
{
	struct tally **at = &counters->first;

	if (tally == NULL || --tally->uses > 0)
		return;
	for (int reason = 0; reason < REASON_COUNT; reason++)
		counters->retired[tally->role][reason] +=
			counters_reason(counters, tally, (enum reason)reason);
	while (*at != tally)
		at = &(*at)->next;
	*at = tally->next;
	free(tally);
}

struct counters *counters_new(unsigned int workers)
{
	struct counters *counters = calloc(1, sizeof(*counters));

	if (counters == NULL)
		return NULL;
	counters->workers = workers;
	for (int role = 0; role < ROLE_COUNT; role++) {
		if (take(counters, (enum role)role, "", "") != NULL)
			continue;
		counters_free(counters);
		return NULL;
	}
	return counters;
}

void counters_free(struct counters *counters)
{
	if (counters == NULL)
		return;
	while (counters->first != NULL) {
		struct tally *next = counters->first->next;
		free(counters->first);
		counters->first = next;
	}
	free(counters);
}

bool counters_bind(struct counters *counters, struct config *config)
{
	bool complete = true;

	for (size_t i = 0; i < config->service_count; i++) {
		struct service_config *row = &config->services[i];
		row->service.tally = take(counters, ROLE_PROTECT, row->service.name, "");
		complete = complete && row->service.tally != NULL;
		for (size_t k = 0; k < row->service.key_count; k++) {
			row->keys[k].tally =
				take(counters, ROLE_PROTECT, row->service.name, row->keys[k].name);
			complete = complete && row->keys[k].tally != NULL;
		}
	}
	for (size_t i = 0; i < config->egress_count; i++) {
		struct destination *destination = &config->egress[i].destination;
		const char *key = destination->key != NULL ? destination->key->name : "";
		destination->tally = take(counters, ROLE_EGRESS, destination->name, key);
		complete = complete && destination->tally != NULL;
	}
	return complete;
}

void counters_release(struct counters *counters, const struct config *config)
{
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service_config *row = &config->services[i];
		give_up(counters, row->service.tally);
		for (size_t k = 0; k < row->service.key_count; k++)
			give_up(counters, row->keys[k].tally);
	}
	for (size_t i = 0; i < config->egress_count; i++)
		give_up(counters, config->egress[i].destination.tally);
}

struct tally *counters_unknown(const struct counters *counters, enum role role)
{
	struct tally *tally = counters->first;

	while (tally->role != role)
		tally = tally->next;
	return tally;
}

const struct tally *counters_next(const struct counters *counters, const struct tally *tally)
{
	return tally != NULL ? tally->next : counters->first;
}

uint64_t counters_reason(const struct counters *counters, const struct tally *tally,
			 enum reason reason)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < counters->workers; i++)
		sum += counter_read(&tally->shares[i].reasons[reason]);
	return sum;
}

uint64_t counters_verdict(const struct counters *counters, const struct tally *tally,
			  enum verdict verdict)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < counters->workers; i++)
		sum += counter_read(&tally->shares[i].verdicts[verdict]);
	return sum;
}

int64_t counters_last_used(const struct counters *counters, const struct tally *tally)
{
	int64_t latest = 0;

	for (unsigned int i = 0; i < counters->workers; i++) {
		int64_t used =
			atomic_load_explicit(&tally->shares[i].last_used, memory_order_relaxed);
		latest = used > latest ? used : latest;
	}
	return latest;
}

uint64_t counters_verdict_word(const struct counters *counters, const struct tally *tally,
			       const char *word)
{
	uint64_t sum = 0;

	for (int verdict = 0; verdict < VERDICT_COUNT; verdict++)
		if (strcmp(verdict_word((enum verdict)verdict), word) == 0)
			sum += counters_verdict(counters, tally, (enum verdict)verdict);
	return sum;
}

uint64_t counters_total(const struct counters *counters, enum role role, enum reason reason)
{
	uint64_t sum = counters->retired[role][reason];

	for (const struct tally *tally = counters->first; tally != NULL; tally = tally->next)
		if (tally->role == role)
			sum += counters_reason(counters, tally, reason);
	return sum;
}
