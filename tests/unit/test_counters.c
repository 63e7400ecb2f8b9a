/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/counters.h"

#include "support.h"

enum { WORKERS = 3 };

/* A configuration with one service of two keys and one destination. */
struct sample {
	struct config config;
	struct service_config service;
	struct egress_config egress;
	struct key keys[2];
	struct key egress_key;
};

static void make_sample(struct sample *sample, const char *service)
{
	*sample = (struct sample){0};
	snprintf(sample->service.service.name, NAME_SIZE, "%s", service);
	snprintf(sample->keys[0].name, NAME_SIZE, "1");
	snprintf(sample->keys[1].name, NAME_SIZE, "2");
	snprintf(sample->egress.destination.name, NAME_SIZE, "branch");
	snprintf(sample->egress_key.name, NAME_SIZE, "1");
	sample->service.keys = sample->keys;
	sample->service.service.keys = sample->keys;
	sample->service.service.key_count = 2;
	sample->egress.destination.key = &sample->egress_key;
	sample->config.services = &sample->service;
	sample->config.service_count = 1;
	sample->config.egress = &sample->egress;
	sample->config.egress_count = 1;
}

static unsigned int count_tallies(const struct counters *counters)
{
	unsigned int count = 0;
	for (const struct tally *tally = NULL; (tally = counters_next(counters, tally)) != NULL;)
		count++;
	return count;
}

START_TEST(every_name_has_a_tally)
{
	struct counters *counters = counters_new(WORKERS);
	struct sample sample;
	make_sample(&sample, "ssh");
	ck_assert(counters_bind(counters, &sample.config));
	ck_assert_uint_eq(count_tallies(counters), 6);
	const struct tally *first = counters_next(counters, NULL);
	ck_assert_ptr_eq(first, counters_unknown(counters, ROLE_PROTECT));
	ck_assert_str_eq(sample.keys[1].tally->service, "ssh");
	ck_assert_str_eq(sample.keys[1].tally->key, "2");
	ck_assert_str_eq(sample.service.service.tally->key, "");
	ck_assert_int_eq(sample.egress.destination.tally->role, ROLE_EGRESS);
	ck_assert_str_eq(sample.egress.destination.tally->key, "1");
	counters_release(counters, &sample.config);
	ck_assert_uint_eq(count_tallies(counters), 2);
	counters_free(counters);
}
END_TEST

START_TEST(sums_go_over_the_workers)
{
	struct counters *counters = counters_new(WORKERS);
	struct tally *tally = counters_unknown(counters, ROLE_PROTECT);
	for (unsigned int worker = 0; worker < WORKERS; worker++)
		for (unsigned int i = 0; i <= worker; i++)
			tally_count(tally, worker, VERDICT_CLOSED, REASON_FRAGMENT);
	ck_assert_uint_eq(counters_reason(counters, tally, REASON_FRAGMENT), 6);
	ck_assert_uint_eq(counters_verdict(counters, tally, VERDICT_CLOSED), 6);
	ck_assert_uint_eq(counters_total(counters, ROLE_PROTECT, REASON_FRAGMENT), 6);
	ck_assert_uint_eq(counters_total(counters, ROLE_EGRESS, REASON_FRAGMENT), 0);
	ck_assert_uint_eq((uintptr_t)&tally->shares[1] % 64, 0);
	counters_free(counters);
}
END_TEST

/* A reload: the new configuration is bound before the old one is given up. */
START_TEST(names_count_on_over_configurations)
{
	struct counters *counters = counters_new(WORKERS);
	struct sample before, after, other;
	make_sample(&before, "ssh");
	make_sample(&after, "ssh");
	make_sample(&other, "web");
	ck_assert(counters_bind(counters, &before.config));
	tally_count(before.keys[0].tally, 0, VERDICT_VERIFIED, REASON_TOKEN_VALID);
	tally_use(before.keys[0].tally, 2, 1700000000);
	tally_use(before.keys[0].tally, 1, 1600000000);
	ck_assert(counters_bind(counters, &after.config));
	counters_release(counters, &before.config);
	ck_assert_ptr_eq(after.keys[0].tally, before.keys[0].tally);
	ck_assert_uint_eq(counters_reason(counters, after.keys[0].tally, REASON_TOKEN_VALID), 1);
	ck_assert_int_eq(counters_last_used(counters, after.keys[0].tally), 1700000000);
	ck_assert_int_eq(counters_last_used(counters, after.keys[1].tally), 0);
	/* A name that is gone stays in the total of its role. */
	ck_assert(counters_bind(counters, &other.config));
	counters_release(counters, &after.config);
	ck_assert_uint_eq(counters_total(counters, ROLE_PROTECT, REASON_TOKEN_VALID), 1);
	ck_assert_uint_eq(counters_reason(counters, other.keys[0].tally, REASON_TOKEN_VALID), 0);
	ck_assert_uint_eq(count_tallies(counters), 6);
	counters_free(counters);
}
END_TEST

RUN_TESTS("counters", every_name_has_a_tally, sums_go_over_the_workers,
	  names_count_on_over_configurations);
