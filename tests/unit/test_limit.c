/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The summary of failures: its bounds on streams of sources with a fixed seed, and that nobody is
 * ever held for others. With threads: test_threads.c. */
#include "core/limit.h"

#include "support.h"

enum { MOST = 10, HOLD = 5000, START = 1000000, SLOTS = 4096, BUCKETS = SLOTS / LIMIT_WAYS };

static const uint8_t hash_key[16] = {1, 2, 3};

static struct limit *limit;

static void set_up(void)
{
	limit = limit_new(SLOTS, hash_key);
	ck_assert_ptr_nonnull(limit);
}

static void tear_down(void)
{
	limit_free(limit);
}

START_TEST(one_more_than_most_is_held)
{
	for (int i = 0; i < MOST; i++) {
		ck_assert(!limit_count(limit, 7, MOST, HOLD, START + (uint64_t)i));
		ck_assert(!limit_holds(limit, 7, START + (uint64_t)i));
	}
	ck_assert(limit_count(limit, 7, MOST, HOLD, START + 999));
	ck_assert(limit_holds(limit, 7, START + 999));
	/* Told once only, and the hold does not grow. */
	ck_assert(!limit_count(limit, 7, MOST, HOLD, START + 2000));
	ck_assert(limit_holds(limit, 7, START + 999 + HOLD - 1));
	ck_assert(!limit_holds(limit, 7, START + 999 + HOLD));
	ck_assert(!limit_holds(limit, 8, START + 999));
	/* Then it begins anew. */
	for (int i = 0; i < MOST; i++)
		ck_assert(!limit_count(limit, 7, MOST, HOLD, START + 10000));
	ck_assert(limit_count(limit, 7, MOST, HOLD, START + 10000));
}
END_TEST

/* Milliseconds since 1970, as a capture has them. */
START_TEST(a_clock_that_is_far_on)
{
	const uint64_t now = 1700000000000;

	for (int i = 0; i <= MOST; i++)
		ck_assert(limit_count(limit, 7, MOST, HOLD, now + (uint64_t)i) == (i == MOST));
	ck_assert(limit_holds(limit, 7, now + 100));
	ck_assert(!limit_holds(limit, 7, now + 100 + HOLD));
}
END_TEST

START_TEST(slower_than_that_is_never_held)
{
	unsigned int held = 0;

	/* MOST in every second, for an hour. */
	for (uint64_t i = 0; i < 3600 * MOST; i++) {
		held += limit_count(limit, 7, MOST, HOLD, START + i * 1000 / MOST);
		held += limit_holds(limit, 7, START + i * 1000 / MOST);
	}
	ck_assert_uint_eq(held, 0);
}
END_TEST

/* A million sources in a second, far more than there are slots, beside one that keeps quiet and one
 * that fails a few times. */
START_TEST(a_flood_of_others_holds_nobody)
{
	uint64_t random = 42;
	unsigned int held = 0;

	for (uint64_t i = 0; i < 1000000; i++) {
		uint64_t source = (uint64_t)random32(&random) << 32 | random32(&random);
		uint64_t now = START + i / 1000;
		held += limit_count(limit, source, MOST, HOLD, now);
		if (i % 100000 == 0)
			held += limit_count(limit, 1, MOST, HOLD, now);
		held += limit_holds(limit, 1, now) || limit_holds(limit, 2, now);
	}
	ck_assert_uint_eq(held, 0);
}
END_TEST

/* The error bound: beside n events of others a second, the source is held after at most
 * MOST + 1 + 2 n / buckets / (ways + 1) of its own, give or take what chance puts into its bucket
 * (n / buckets is 200 here; five standard deviations of it are 71). */
START_TEST(a_heavy_hitter_is_held_all_the_same)
{
	uint64_t random = (uint64_t)_i + 1;
	uint64_t heavy = random32(&random);
	uint64_t own = 0;
	bool held = false;
	unsigned int others = 0;

	/* Each own event among 1000 others: 100 own and 100,000 others a second. */
	for (uint64_t i = 0; !held && i < 200000; i++) {
		uint64_t now = START + i / 100;
		if (i % 1000 == 0) {
			own++;
			held = limit_count(limit, heavy, MOST, HOLD, now);
		} else {
			uint64_t source = (uint64_t)random32(&random) << 32 | random32(&random);
			others += limit_count(limit, source, MOST, HOLD, now);
		}
	}
	ck_assert(held);
	ck_assert_uint_eq(others, 0);
	ck_assert_uint_le(own, MOST + 1 + 2 * (200 + 71) / (LIMIT_WAYS + 1));
}
END_TEST

/* Against exact counts, on a stream of few heavy and many light sources (Zipf): never more than the
 * truth, which is to say nobody is held who did not exceed. */
START_TEST(agrees_with_exact_counts)
{
	enum { SOURCES = 20000, EVENTS = 400000 };
	static unsigned int events[SOURCES];
	uint64_t random = 4711;
	unsigned int held = 0;
	unsigned int excessive = 0;

	for (size_t i = 0; i < EVENTS; i++) {
		/* P(source >= s) is about 1/s. */
		uint64_t source = (uint64_t)1 << 32;
		source = source / ((uint64_t)random32(&random) + 1);
		if (source >= SOURCES)
			source = SOURCES - 1;
		events[source]++;
		/* All within one second. */
		if (limit_count(limit, source, 100, HOLD, START + i / 401)) {
			ck_assert_uint_gt(events[source], 100);
			held++;
		}
	}
	for (size_t i = 0; i < SOURCES; i++) {
		excessive += events[i] > 100;
		/* The bound: what is above the limit by more than its bucket's share must be held.
		 */
		if (events[i] > 100 + 2 * EVENTS / BUCKETS / (LIMIT_WAYS + 1))
			ck_assert(limit_holds(limit, i, START + 999));
	}
	ck_assert_uint_gt(held, 20);
	ck_assert_uint_le(held, excessive);
}
END_TEST

/* Eight held sources fill a bucket: others are then not counted there, and held they are not. */
START_TEST(a_bucket_of_held_sources)
{
	struct limit *small = limit_new(1, hash_key);

	for (uint64_t source = 0; source < LIMIT_WAYS; source++)
		for (int i = 0; i <= MOST; i++)
			ck_assert(limit_count(small, source, MOST, HOLD, START) == (i == MOST));
	for (int i = 0; i < 1000; i++)
		ck_assert(!limit_count(small, 99, MOST, HOLD, START + 1));
	ck_assert(!limit_holds(small, 99, START + 1));
	for (uint64_t source = 0; source < LIMIT_WAYS; source++)
		ck_assert(limit_holds(small, source, START + 1));
	/* And free again behind the hold. */
	for (int i = 0; i <= MOST; i++)
		ck_assert(limit_count(small, 99, MOST, HOLD, START + HOLD) == (i == MOST));
	limit_free(small);
}
END_TEST

START_TEST(numbers_of_prefixes)
{
	static const struct {
		const char *one, *other;
		uint8_t ipv4, ipv6;
		bool same;
	} cases[] = {
		{"198.51.100.1", "198.51.100.254", 24, 56, true},
		{"198.51.100.1", "198.51.101.1", 24, 56, false},
		{"198.51.100.1", "198.51.101.1", 23, 56, true},
		{"198.51.100.1", "198.51.100.2", 32, 56, false},
		{"198.51.100.1", "203.0.113.9", 0, 56, true},
		{"2001:db8:0:ff::1", "2001:db8::2", 24, 56, true},
		{"2001:db8:0:100::1", "2001:db8::2", 24, 56, false},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff::", 24, 64, true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", 24, 64, false},
		{"2001:db8::1", "fe80::1", 24, 0, true},
		{"0.0.0.0", "::", 24, 56, false},
		{"0.0.0.0", "::", 0, 0, false},
		{"198.51.100.1", "c633:6401::", 24, 56, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct endpoint one = make_endpoint(cases[i].one, 1);
		struct endpoint other = make_endpoint(cases[i].other, 2);
		ck_assert_msg((limit_source(&one, cases[i].ipv4, cases[i].ipv6) ==
			       limit_source(&other, cases[i].ipv4, cases[i].ipv6)) == cases[i].same,
			      "case %zu", i);
	}
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("limit");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, one_more_than_most_is_held);
	tcase_add_test(tcase, a_clock_that_is_far_on);
	tcase_add_test(tcase, slower_than_that_is_never_held);
	tcase_add_test(tcase, a_flood_of_others_holds_nobody);
	tcase_add_loop_test(tcase, a_heavy_hitter_is_held_all_the_same, 0, 20);
	tcase_add_test(tcase, agrees_with_exact_counts);
	tcase_add_test(tcase, a_bucket_of_held_sources);
	tcase_add_test(tcase, numbers_of_prefixes);
	return run_tcase("limit", tcase);
}
