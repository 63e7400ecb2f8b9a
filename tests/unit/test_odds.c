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
 * 500 hits the standard error is 1/22 of the mean; 4 of these are allowed. More take minutes on a
 * machine that has much else to do. */
START_TEST(a_guesser_needs_that_long)
{
	enum { HITS = 500, KEYS = 4 };
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
	ck_assert_double_gt(mean, odds_guesses(&service) * (1 - 4.0 / 22));
	ck_assert_double_lt(mean, odds_guesses(&service) * (1 + 4.0 / 22));
}
END_TEST

START_TEST(lines)
{
	struct failure_rules rules = {.max_failures = 100, .max_service_failures = 1000};
	struct service service = {.name = "ssh", .key_count = 2, .failures = &rules};
	char line[ODDS_LINE_SIZE];

	ck_assert_str_eq(odds_line(&service, line),
			 "ssh: a blind guess hits 1 time in 2147483648 (auth mode, 2 keys), on "
			 "average after 25 days without an alarm (max_service_failures = 1000 a "
			 "second); 2.0 hours at 300000 a second");
	rules.back_off = 10;
	service.integrity = 28;
	service.key_count = 1;
	ck_assert_str_eq(odds_line(&service, line),
			 "ssh: a blind guess hits 1 time in 65536 (the SYN in integrity mode, 1 "
			 "key), on average after 11 minutes from one prefix at max_failures = 100 "
			 "a second; 66 seconds without an alarm (max_service_failures = 1000 a "
			 "second); 0.2 seconds at 300000 a second");
	/* The longest. */
	memset(service.name, 'n', NAME_SIZE - 1);
	service.key_count = 1000000;
	rules.max_failures = rules.max_service_failures = 65000;
	ck_assert_ptr_nonnull(strstr(odds_line(&service, line), "300000 a second"));
	service.failures = NULL;
	ck_assert_ptr_nonnull(strstr(odds_line(&service, line), "after 0.0 seconds at"));
}
END_TEST

RUN_TESTS("odds", lines, counts_keys_and_mode, durations, a_guesser_needs_that_long);
