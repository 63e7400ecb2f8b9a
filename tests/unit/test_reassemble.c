/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/reassemble.h"

#include "support.h"

enum { ROOM = 300, ROUNDS = 2000 };

static const uint8_t text[] = "first copy wins";

START_TEST(gaps_are_closed)
{
	struct reassembly stream;

	ck_assert(reassembly_open(&stream, sizeof(text)));
	ck_assert_uint_eq(reassembly_add(&stream, 6, text + 6, 4), 4);
	ck_assert_uint_eq(stream.contiguous, 0);
	ck_assert_uint_eq(reassembly_add(&stream, 0, text, 6), 6);
	ck_assert_uint_eq(stream.contiguous, 10);
	ck_assert_uint_eq(reassembly_add(&stream, 0, text, 10), 0);
	ck_assert_uint_eq(reassembly_add(&stream, 8, text + 8, sizeof(text) - 8),
			  sizeof(text) - 10);
	ck_assert_uint_eq(stream.contiguous, sizeof(text));
	ck_assert_mem_eq(stream.bytes, text, sizeof(text));
	reassembly_close(&stream);
}
END_TEST

START_TEST(first_copy_wins)
{
	struct reassembly stream;

	ck_assert(reassembly_open(&stream, sizeof(text)));
	reassembly_add(&stream, 4, text + 4, 3);
	ck_assert(reassembly_agrees(&stream, 0, text, sizeof(text)));
	ck_assert(!reassembly_agrees(&stream, 0, (const uint8_t *)"firsx", 5));
	ck_assert(reassembly_agrees(&stream, 0, (const uint8_t *)"xxxxt c", 4));
	/* Only what was not there is taken of other bytes. */
	ck_assert_uint_eq(reassembly_add(&stream, 0, (const uint8_t *)"xxxxxxxxxx", 10), 7);
	ck_assert_mem_eq(stream.bytes, "xxxxt cxxx", 10);
	reassembly_close(&stream);
}
END_TEST

START_TEST(nothing_beyond_the_room)
{
	struct reassembly stream;
	const uint8_t bytes[ROOM] = {1};

	ck_assert(reassembly_open(&stream, 10));
	ck_assert_uint_eq(reassembly_add(&stream, 8, bytes, ROOM), 2);
	ck_assert_uint_eq(reassembly_add(&stream, 10, bytes, ROOM), 0);
	ck_assert_uint_eq(reassembly_add(&stream, UINT32_MAX, bytes, ROOM), 0);
	ck_assert_uint_eq(reassembly_add(&stream, UINT32_MAX - 3, bytes, ROOM), 0);
	ck_assert(reassembly_agrees(&stream, UINT32_MAX, bytes, ROOM));
	ck_assert_uint_eq(reassembly_add(&stream, 0, bytes, 0), 0);
	ck_assert_uint_eq(stream.contiguous, 0);
	reassembly_close(&stream);
}
END_TEST

/* Against the obvious way to say it: for each byte the first segment that has it. */
START_TEST(random_segments)
{
	uint64_t seed = 1;

	for (int round = 0; round < ROUNDS; round++) {
		struct reassembly stream;
		int expected[ROOM];
		uint8_t bytes[ROOM];

		for (size_t i = 0; i < ROOM; i++)
			expected[i] = -1;
		ck_assert(reassembly_open(&stream, ROOM));
		for (int piece = 0; piece < 12; piece++) {
			uint32_t offset = random32(&seed) % (ROOM + 20);
			uint32_t length = random32(&seed) % 100;
			for (uint32_t i = 0; i < length; i++)
				bytes[i] = (uint8_t)random32(&seed);
			reassembly_add(&stream, offset, bytes, length);
			for (uint32_t i = 0; i < length && offset + i < ROOM; i++)
				if (expected[offset + i] < 0)
					expected[offset + i] = bytes[i];
		}
		uint32_t contiguous = 0;
		while (contiguous < ROOM && expected[contiguous] >= 0) {
			ck_assert_uint_eq(stream.bytes[contiguous], (uint8_t)expected[contiguous]);
			contiguous++;
		}
		ck_assert_uint_eq(stream.contiguous, contiguous);
		reassembly_close(&stream);
	}
}
END_TEST

RUN_TESTS("reassemble", gaps_are_closed, first_copy_wins, nothing_beyond_the_room, random_segments);
