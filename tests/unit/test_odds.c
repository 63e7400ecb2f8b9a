/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/odds.h"

#include <math.h>

#include "core/token.h"
#include "support.h"

START_TEST(counts_keys_and_mode)
{
	struct service service = {.key_count = 1};

	ck_assert_double_eq(odds_guesses(&service), 4294967296.0);
	service.key_count = 4;
	ck_assert_double_eq(odds_guesses(&service), 1073741824.0);
	ck_assert_double_eq(odds_seconds(&service, 1024), 1048576.0);
	service.integrity = 28;
	ck_assert_double_eq(odds_guesses(&service), 16384.0);
	ck_assert(isinf(odds_seconds(&service, 0)));
}
END_TEST

START_TEST(durations)
{
	static const struct {
		double seconds;
		const char *text;
	} cases[] = {
		{0.5, "0.5 seconds"},        {42, "42 seconds"},        {89, "89 seconds"},
		{90, "1.5 minutes"},         {3600, "60 minutes"},      {5400, "1.5 hours"},
		{86400, "24 hours"},         {4.9 * 86400, "4.9 days"}, {4294967296.0, "136 years"},
		{(double)INFINITY, "never"},
	};
	char text[ODDS_TEXT_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_str_eq(odds_duration(cases[i].seconds, text), cases[i].text);
}
END_TEST

/* Really guessing, in integrity mode: the mean of many runs lies where the function says. With
 * 2,000 hits the standard error is 1/45 of the mean; 4 of these are allowed. */
START_TEST(a_guesser_needs_that_long)
{
	enum { HITS = 2000, KEYS = 4 };
	struct key keys[KEYS] = {0};
	struct service service = {.integrity = 28, .keys = keys, .key_count = KEYS};
	struct tuple tuple = {make_endpoint("198.51.100.1", 1), make_endpoint("192.0.2.1", 22)};
	const struct key *key;
	uint64_t random = 7;
	uint64_t guesses = 0;

	for (size_t i = 0; i < KEYS; i++)
		keys[i].secret.bytes[0] = (uint8_t)(i + 1);
	for (int hits = 0; hits < HITS; guesses++)
		hits += service_judge_token(&service, &tuple, random32(&random), random32(&random),
					    0, &key) == REASON_TOKEN_VALID;
	double mean = (double)guesses / HITS;
	ck_assert_double_gt(mean, odds_guesses(&service) * (1 - 4.0 / 45));
	ck_assert_double_lt(mean, odds_guesses(&service) * (1 + 4.0 / 45));
}
END_TEST

RUN_TESTS("odds", counts_keys_and_mode, durations, a_guesser_needs_that_long);
