/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which source a token belongs to, and how often that errs. With threads: test_threads.c. */
#include "core/replay_guard.h"

#include "support.h"

enum { WINDOW = 3600, SECOND = 1000, START = 1000000, CAPACITY = 16384 };

static const uint8_t hash_key[16] = {7, 7};

static struct replay_guard *guard;

static void set_up(void)
{
	guard = replay_guard_new(CAPACITY, hash_key);
	ck_assert_ptr_nonnull(guard);
}

static void tear_down(void)
{
	replay_guard_free(guard);
}

static struct tuple tuple_of(const char *source, uint16_t port)
{
	bool ipv6 = strchr(source, ':') != NULL;

	return (struct tuple){make_endpoint(source, port),
			      make_endpoint(ipv6 ? "2001:db8::1" : "192.0.2.1", 22)};
}

static enum replay_finding ask(const char *source, uint16_t port, uint32_t isn, uint64_t now)
{
	struct tuple tuple = tuple_of(source, port);

	return replay_guard_judge(guard, &tuple, isn, isn ^ 0x5555, WINDOW, now);
}

START_TEST(a_token_belongs_to_its_first_tuple)
{
	const char *own = _i == 0 ? "198.51.100.1" : "2001:db8:1::1";
	const char *other = _i == 0 ? "198.51.100.2" : "2001:db8:1::2";
	uint64_t end = START + (uint64_t)WINDOW * SECOND;

	ck_assert_int_eq(ask(own, 40000, 1, START), REPLAY_FIRST);
	/* Sent again by the same. */
	ck_assert_int_eq(ask(own, 40000, 1, START), REPLAY_FIRST);
	ck_assert_int_eq(ask(own, 40000, 1, START + 63 * SECOND), REPLAY_FIRST);
	/* Another host, another port of the same host. */
	ck_assert_int_eq(ask(other, 40000, 1, START), REPLAY_FOREIGN);
	ck_assert_int_eq(ask(other, 40000, 1, end - SECOND), REPLAY_FOREIGN);
	ck_assert_int_eq(ask(own, 40001, 1, START + SECOND), REPLAY_FOREIGN);
	/* Neither made it theirs. */
	ck_assert_int_eq(ask(own, 40000, 1, end - SECOND), REPLAY_FIRST);
	/* Another token is not concerned. */
	ck_assert_int_eq(ask(own, 40001, 2, START + SECOND), REPLAY_FIRST);
	/* The window is over: it can be used again, by one. */
	ck_assert_int_eq(ask(other, 50000, 1, end + SECOND), REPLAY_FIRST);
	ck_assert_int_eq(ask(own, 40000, 1, end + 2 * SECOND), REPLAY_FOREIGN);
}
END_TEST

/* A browser opens six connections within a millisecond: one TSval, one token. */
START_TEST(one_host_may_use_a_tick_for_several_ports)
{
	for (uint16_t port = 40000; port < 40006; port++)
		ck_assert_int_eq(ask("198.51.100.1", port, 1, START + 2), REPLAY_FIRST);
	/* Each of them may be sent again, later ones not. */
	for (uint16_t port = 40000; port < 40006; port++)
		ck_assert_int_eq(ask("198.51.100.1", port, 1, START + 1003), REPLAY_FIRST);
	ck_assert_int_eq(ask("198.51.100.1", 40006, 1, START + 200), REPLAY_FOREIGN);
	ck_assert_int_eq(ask("198.51.100.2", 40000, 1, START + 2), REPLAY_FOREIGN);
}
END_TEST

START_TEST(destination_and_tsval_are_part_of_the_token)
{
	struct tuple tuple = tuple_of("198.51.100.1", 40000);
	struct tuple other = tuple_of("198.51.100.2", 40000);

	ck_assert_int_eq(replay_guard_judge(guard, &tuple, 1, 2, WINDOW, START), REPLAY_FIRST);
	ck_assert_int_eq(replay_guard_judge(guard, &other, 1, 3, WINDOW, START), REPLAY_FIRST);
	other.destination.port++;
	ck_assert_int_eq(replay_guard_judge(guard, &other, 1, 2, WINDOW, START), REPLAY_FIRST);
	other.destination.port--;
	ck_assert_int_eq(replay_guard_judge(guard, &other, 1, 2, WINDOW, START), REPLAY_FOREIGN);
}
END_TEST

/* A clock that is a little behind, as another thread's may be. */
START_TEST(a_clock_behind)
{
	ck_assert_int_eq(ask("198.51.100.1", 1, 1, START + SECOND), REPLAY_FIRST);
	ck_assert_int_eq(ask("198.51.100.2", 1, 1, START), REPLAY_FOREIGN);
	ck_assert_int_eq(ask("198.51.100.1", 1, 1, START), REPLAY_FIRST);
}
END_TEST

static enum replay_finding ask_number(uint32_t number, uint16_t port, uint64_t now)
{
	struct tuple tuple = tuple_of("198.51.100.1", port);

	tuple.source.address[3] = (uint8_t)number;
	tuple.source.address[2] = (uint8_t)(number >> 8);
	return replay_guard_judge(guard, &tuple, number * 2654435761U, number, WINDOW, now);
}

/* A quarter of the room is used: replays of all tokens are found, new ones are not taken for
 * replays, but for what the few full buckets lost. */
START_TEST(error_rates)
{
	enum { TOKENS = 65536 };
	unsigned int refused = 0, evicted = 0, passed = 0, forgotten = 0;

	replay_guard_free(guard);
	guard = replay_guard_new(TOKENS * 4, hash_key);
	for (uint32_t i = 0; i < TOKENS; i++) {
		enum replay_finding found = ask_number(i, 40000, START + i);
		refused += found == REPLAY_FOREIGN;
		evicted += found == REPLAY_EVICTED;
	}
	for (uint32_t i = 0; i < TOKENS; i++) {
		passed += ask_number(i, 40001, START + TOKENS + SECOND) != REPLAY_FOREIGN;
		forgotten += ask_number(i, 40000, START + TOKENS + SECOND) != REPLAY_FIRST;
	}
	ck_assert_uint_eq(refused, 0);
	/* Of buckets with 2 entries on average, 2.4 in 10,000 would want more than 8. */
	ck_assert_uint_le(evicted, 30);
	ck_assert_uint_le(passed, 20 * evicted);
	ck_assert_uint_le(forgotten, 20 * evicted);
}
END_TEST

/* Filled beyond its room it still works for the newest, and says what it lost. */
START_TEST(overfull)
{
	enum { TOKENS = CAPACITY * 4 };
	unsigned int evicted = 0, caught = 0, refused = 0;

	for (uint32_t i = 0; i < TOKENS; i++) {
		enum replay_finding found = ask_number(i, 40000, START + i);
		refused += found == REPLAY_FOREIGN;
		evicted += found == REPLAY_EVICTED;
	}
	ck_assert_uint_eq(refused, 0);
	ck_assert_uint_ge(evicted, TOKENS - CAPACITY);
	/* The newest eighth of the room. */
	for (uint32_t i = TOKENS - CAPACITY / 8; i < TOKENS; i++)
		caught += ask_number(i, 40001, START + TOKENS + SECOND) == REPLAY_FOREIGN;
	ck_assert_uint_gt(caught, CAPACITY / 8 * 99 / 100);
}
END_TEST

/* The place of expired tokens is free: for ever at a rate that fits, nothing is lost. */
START_TEST(expired_tokens_make_room)
{
	unsigned int evicted = 0;

	for (uint32_t i = 0; i < CAPACITY * 2; i++)
		evicted += ask_number(i, 40000, START + (uint64_t)i * 1000) == REPLAY_EVICTED;
	/* 3600 tokens at a time in 2048 buckets of 8: of these, 1 in 5,000 wants more than 8. */
	ck_assert_uint_lt(evicted, CAPACITY / 500);
}
END_TEST

/* The short window of one service does not cost another its tokens. */
START_TEST(windows_of_two_services)
{
	struct replay_guard *small = replay_guard_new(1, hash_key);
	struct tuple tuple = tuple_of("198.51.100.1", 40000);
	struct tuple thief = tuple_of("198.51.100.2", 40000);

	ck_assert_int_eq(replay_guard_judge(small, &tuple, 1, 1, WINDOW, START), REPLAY_FIRST);
	for (uint32_t i = 2; i < 9; i++)
		replay_guard_judge(small, &tuple, i, i, 10, START + 100 * SECOND);
	ck_assert_int_eq(replay_guard_judge(small, &thief, 1, 1, WINDOW, START + 200 * SECOND),
			 REPLAY_FOREIGN);
	ck_assert_int_eq(replay_guard_judge(small, &thief, 2, 2, 10, START + 120 * SECOND),
			 REPLAY_EVICTED);
	replay_guard_free(small);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("replay guard");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, a_token_belongs_to_its_first_tuple, 0, 2);
	tcase_add_test(tcase, one_host_may_use_a_tick_for_several_ports);
	tcase_add_test(tcase, destination_and_tsval_are_part_of_the_token);
	tcase_add_test(tcase, a_clock_behind);
	tcase_add_test(tcase, error_rates);
	tcase_add_test(tcase, overfull);
	tcase_add_test(tcase, expired_tokens_make_room);
	tcase_add_test(tcase, windows_of_two_services);
	return run_tcase("replay guard", tcase);
}
