/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/promise.h"

#include "support.h"

static const uint8_t hash_key[16] = {1, 2, 3};

static const struct server_habits modern = {
	.mss = 1460,
	.window_shift = 7,
	.window_scale = HABIT_PRESENT,
	.sack_permitted = HABIT_PRESENT,
	.timestamps = HABIT_ABSENT,
};

START_TEST(unknown_server)
{
	struct promise_cache *cache = promise_cache_new(8, hash_key);
	struct endpoint server = make_endpoint("10.3.0.7", 443);
	struct server_habits habits = promise_find(cache, &server);

	ck_assert_uint_eq(habits.mss, 0);
	ck_assert_int_eq(habits.window_scale, HABIT_UNKNOWN);
	ck_assert_int_eq(habits.sack_permitted, HABIT_UNKNOWN);
	ck_assert_int_eq(habits.timestamps, HABIT_UNKNOWN);
	promise_cache_free(cache);
}
END_TEST

START_TEST(what_is_learnt_is_kept)
{
	struct promise_cache *cache = promise_cache_new(8, hash_key);
	struct endpoint server = make_endpoint("10.3.0.7", 443);
	struct endpoint other = make_endpoint("10.3.0.7", 444);
	const struct server_habits less = {.mss = 1400, .timestamps = HABIT_PRESENT};

	promise_learn(cache, &server, &modern, 0);
	struct server_habits habits = promise_find(cache, &server);
	ck_assert_mem_eq(&habits, &modern, sizeof(habits));
	ck_assert_uint_eq(promise_find(cache, &other).mss, 0);
	/* A SYN that did not offer everything teaches only what it offered. */
	promise_learn(cache, &server, &less, 1);
	habits = promise_find(cache, &server);
	ck_assert_uint_eq(habits.mss, 1400);
	ck_assert_uint_eq(habits.window_shift, 7);
	ck_assert_int_eq(habits.window_scale, HABIT_PRESENT);
	ck_assert_int_eq(habits.sack_permitted, HABIT_PRESENT);
	ck_assert_int_eq(habits.timestamps, HABIT_PRESENT);
	promise_cache_free(cache);
}
END_TEST

/* Two servers behind one address: the modest one is promised. */
START_TEST(smaller_segments_count_for_a_while)
{
	struct promise_cache *cache = promise_cache_new(8, hash_key);
	struct endpoint server = make_endpoint("10.3.0.7", 443);
	const struct server_habits less = {.mss = 1400}, none = {.mss = 0};

	promise_learn(cache, &server, &modern, 0);
	promise_learn(cache, &server, &less, 1000);
	for (uint64_t now = 2000; now < 600000; now += 1000) {
		promise_learn(cache, &server, &modern, now);
		ck_assert_uint_eq(promise_find(cache, &server).mss, 1400);
	}
	promise_learn(cache, &server, &none, 602000);
	ck_assert_uint_eq(promise_find(cache, &server).mss, 1400);
	promise_learn(cache, &server, &modern, 603000);
	ck_assert_uint_eq(promise_find(cache, &server).mss, 1460);
	promise_learn(cache, &server, &less, 604000);
	ck_assert_uint_eq(promise_find(cache, &server).mss, 1400);
	promise_cache_free(cache);
}
END_TEST

/* The cache never grows; the servers heard of last stay. */
START_TEST(oldest_gives_way)
{
	enum { ROOM = 4, SERVERS = 100 };
	struct promise_cache *cache = promise_cache_new(ROOM, hash_key);
	struct endpoint server = make_endpoint("fd03::7", 0);
	unsigned int known = 0;

	for (uint16_t port = 1; port <= SERVERS; port++) {
		server.port = port;
		promise_learn(cache, &server, &modern, port);
	}
	for (uint16_t port = 1; port <= SERVERS; port++) {
		server.port = port;
		if (promise_find(cache, &server).mss == 0)
			continue;
		known++;
		ck_assert_uint_gt(port, SERVERS - ROOM);
	}
	ck_assert_uint_eq(known, ROOM);
	promise_cache_free(cache);
}
END_TEST

START_TEST(impossible_sizes)
{
	ck_assert_ptr_null(promise_cache_new(SIZE_MAX / 2, hash_key));
	promise_cache_free(promise_cache_new(0, hash_key));
	promise_cache_free(NULL);
}
END_TEST

RUN_TESTS("promise", unknown_server, what_is_learnt_is_kept, smaller_segments_count_for_a_while,
	  oldest_gives_way, impossible_sizes);
