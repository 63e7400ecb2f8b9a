/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables that workers share, from several threads at once. Built with the thread sanitizer
 * where the compiler has it: a data race fails the test. Besides, what must hold whatever the
 * order:
 *  - of threads that show one token from different sources at the same time, one at most passes
 *    (and the second copy of its SYN passes as well);
 *  - a source that fails too often is held, told once, and nobody else ever is;
 *  - what is known of a server is what one thread has said of it, never half of what two have. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/limit.h"
#include "core/promise.h"
#include "core/replay_guard.h"

enum { THREADS = 4, ROUNDS = 20000, WINDOW = 3600, MOST = 50, HOLD = 10000 };

static const uint8_t hash_key[16] = {5};
static struct limit *limit;
static struct replay_guard *guard;
static struct promise_cache *promises;
static pthread_barrier_t barrier;
static _Atomic uint32_t passed[ROUNDS];
static _Atomic uint32_t passed_again[ROUNDS];
static _Atomic uint32_t alarms[THREADS];
static _Atomic uint32_t wrongly_held;
static _Atomic uint32_t known, mixed;

static enum replay_finding show_token(uint32_t thread, uint32_t round, uint64_t now)
{
	struct tuple tuple = {0};

	tuple.source.family = tuple.destination.family = FAMILY_IPV4;
	tuple.source.address[0] = (uint8_t)(thread + 1);
	tuple.source.port = 40000;
	return replay_guard_judge(guard, &tuple, round, round ^ 0xabcd, WINDOW, now);
}

/* All threads in step, so that they really meet. */
static void *replay(void *argument)
{
	uint32_t thread = (uint32_t)(uintptr_t)argument;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		if (round % 16 == 0)
			pthread_barrier_wait(&barrier);
		if (show_token(thread, round, 1000 + round) == REPLAY_FOREIGN)
			continue;
		atomic_fetch_add(&passed[round], 1);
		if (show_token(thread, round, 1000 + round) != REPLAY_FOREIGN)
			atomic_fetch_add(&passed_again[round], 1);
	}
	return NULL;
}

/* Every thread counts failures of every heavy source, and a flood of others. */
static void *fail(void *argument)
{
	uint64_t random = (uint64_t)(uintptr_t)argument + 1;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint64_t now = 1000 + round / 64;
		random = random * 6364136223846793005U + 1442695040888963407U;
		limit_count(limit, random | 0x8000000000000000U, MOST, HOLD, now);
		uint32_t heavy = round % THREADS;
		if (limit_count(limit, heavy, MOST, HOLD, now))
			atomic_fetch_add(&alarms[heavy], 1);
		if (limit_holds(limit, 4711, now) ||
		    limit_holds(limit, random | 0x8000000000000000U, now))
			atomic_fetch_add(&wrongly_held, 1);
	}
	return NULL;
}

/* All habits of what is said say the same number. */
static struct server_habits habits_of(uint32_t number)
{
	enum habit habit = number % 2 != 0 ? HABIT_PRESENT : HABIT_ABSENT;

	return (struct server_habits){.mss = 1460,
				      .window_shift = (uint8_t)number,
				      .window_scale = habit,
				      .sack_permitted = habit,
				      .timestamps = habit};
}

static void *learn(void *argument)
{
	uint32_t thread = (uint32_t)(uintptr_t)argument;
	struct endpoint server = {.family = FAMILY_IPV4};

	for (uint32_t round = 0; round < ROUNDS; round++) {
		const struct server_habits said = habits_of((round * THREADS + thread) % 200);
		struct server_habits found, whole;

		server.port = (uint16_t)(round % 8);
		promise_learn(promises, &server, &said, round);
		server.port = (uint16_t)(round / 8 % 8);
		found = promise_find(promises, &server);
		if (found.mss == 0)
			continue;
		whole = habits_of(found.window_shift);
		atomic_fetch_add(&known, 1);
		if (found.window_scale != whole.window_scale ||
		    found.sack_permitted != whole.sack_permitted ||
		    found.timestamps != whole.timestamps)
			atomic_fetch_add(&mixed, 1);
	}
	return NULL;
}

static void run(void *(*function)(void *))
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, function, (void *)i) != 0)
			abort();
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static int failures;

static void check(int right, const char *what, uint32_t where)
{
	if (right)
		return;
	fprintf(stderr, "%s (%" PRIu32 ")\n", what, where);
	failures++;
}

int main(void)
{
	uint32_t rounds_with_one = 0;

	limit = limit_new(4096, hash_key);
	guard = replay_guard_new(65536 * 8, hash_key);
	promises = promise_cache_new(8, hash_key);
	pthread_barrier_init(&barrier, NULL, THREADS);
	run(replay);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		check(passed[round] <= 1, "a token passed from two sources", round);
		check(passed_again[round] == passed[round], "a repeated SYN was refused", round);
		rounds_with_one += passed[round] == 1;
	}
	check(rounds_with_one > ROUNDS * 9 / 10, "too many tokens passed from nobody",
	      rounds_with_one);
	run(fail);
	for (uint32_t heavy = 0; heavy < THREADS; heavy++)
		check(alarms[heavy] == 1, "a source was not told of once", heavy);
	check(wrongly_held == 0, "a source was held that did not fail", wrongly_held);
	run(learn);
	check(known > ROUNDS, "servers were forgotten", known);
	check(mixed == 0, "habits of a server were mixed", mixed);
	limit_free(limit);
	replay_guard_free(guard);
	promise_cache_free(promises);
	return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
