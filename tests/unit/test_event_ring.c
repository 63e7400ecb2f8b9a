/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/event_ring.h"

#include <poll.h>
#include <pthread.h>

#include "support.h"

enum { LEVEL = 3 };

static bool is_readable(const struct event_ring *ring)
{
	struct pollfd polled = {.fd = event_ring_fd(ring), .events = POLLIN};

	return poll(&polled, 1, 0) == 1;
}

START_TEST(lines_come_out_in_order)
{
	struct event_ring *ring = event_ring_new();
	char line[EVENT_LINE_SIZE];
	unsigned int tag = 0;
	ck_assert_uint_eq(event_ring_pop(ring, line, &tag), 0);
	ck_assert(!is_readable(ring));
	/* Several times around. */
	for (unsigned int i = 0; i < 3 * EVENT_RING_SLOTS; i++) {
		int length = snprintf(line, sizeof(line), "%u", i);
		event_ring_push(ring, LEVEL, line, (size_t)length);
		ck_assert(is_readable(ring));
		event_ring_acknowledge(ring);
		ck_assert(!is_readable(ring));
		ck_assert_uint_eq(event_ring_pop(ring, line, &tag), (size_t)length);
		ck_assert_uint_eq(strtoul(line, NULL, 10), i);
		ck_assert_uint_eq(tag, LEVEL);
	}
	ck_assert_uint_eq(event_ring_lost(ring), 0);
	event_ring_free(ring);
}
END_TEST

START_TEST(a_full_ring_counts_what_it_loses)
{
	struct event_ring *ring = event_ring_new();
	char line[EVENT_LINE_SIZE] = "";
	unsigned int tag = 0;
	for (unsigned int i = 0; i < EVENT_RING_SLOTS; i++) {
		ck_assert(event_ring_has_room(ring));
		event_ring_push(ring, LEVEL, "x", 1);
	}
	ck_assert(!event_ring_has_room(ring));
	event_ring_push(ring, LEVEL, "y", 1);
	event_ring_push(ring, LEVEL, line, EVENT_LINE_SIZE);
	ck_assert_uint_eq(event_ring_lost(ring), 3);
	ck_assert_uint_eq(event_ring_lost(ring), 0);
	ck_assert_uint_eq(event_ring_pop(ring, line, &tag), 1);
	ck_assert(event_ring_has_room(ring));
	event_ring_free(ring);
}
END_TEST

enum { WRITERS = 4, LINES = 5000 };

static void *write_lines(void *context)
{
	struct event_ring *ring = context;

	for (unsigned int i = 0; i < LINES; i++)
		event_ring_push(ring, LEVEL, "0123456789", 10);
	return NULL;
}

START_TEST(every_line_arrives_or_is_counted)
{
	struct event_ring *ring = event_ring_new();
	pthread_t threads[WRITERS];
	char line[EVENT_LINE_SIZE];
	unsigned int tag = 0;
	uint64_t seen = 0;
	for (unsigned int i = 0; i < WRITERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, ring), 0);
	while (seen < WRITERS * LINES) {
		uint64_t before = seen;
		event_ring_acknowledge(ring);
		while (event_ring_pop(ring, line, &tag) > 0) {
			ck_assert_str_eq(line, "0123456789");
			seen++;
		}
		seen += event_ring_lost(ring);
		if (seen == before)
			sched_yield();
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(seen, WRITERS * LINES);
	event_ring_free(ring);
}
END_TEST

RUN_TESTS("event_ring", lines_come_out_in_order, a_full_ring_counts_what_it_loses,
	  every_line_arrives_or_is_counted);
