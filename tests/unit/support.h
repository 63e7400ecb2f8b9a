/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What several unit tests need. */
#ifndef KNOCKGW_TESTS_SUPPORT_H
#define KNOCKGW_TESTS_SUPPORT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/packet.h"
#include "core/segment_build.h"
#include "runner.h"

/* The path of a file below tests/data, in a static buffer. */
static inline const char *data_path(const char *name)
{
	static char path[4096];
	const char *folder = getenv("KNOCKGW_TEST_DATA");

	snprintf(path, sizeof(path), "%s/%s", folder != NULL ? folder : TEST_DATA_DIR, name);
	return path;
}

/* A small generator with a seed, so that a failure can be repeated. */
static inline uint32_t random32(uint64_t *state)
{
	*state = *state * 6364136223846793005U + 1442695040888963407U;
	return (uint32_t)(*state >> 32);
}

/* Decodes hex digits into bytes and returns their number. */
static inline size_t unhex(uint8_t *bytes, size_t size, const char *text)
{
	size_t length = strlen(text) / 2;

	ck_assert_uint_le(length, size);
	for (size_t i = 0; i < length; i++)
		ck_assert_int_eq(sscanf(text + 2 * i, "%2hhx", &bytes[i]), 1);
	return length;
}

static inline struct endpoint make_endpoint(const char *address, uint16_t port)
{
	struct endpoint endpoint;

	ck_assert(endpoint_parse_address(&endpoint, address));
	endpoint.port = port;
	return endpoint;
}

/* Builds a packet from a plan and parses it again. */
static inline void make_segment(struct segment *segment, struct packet *packet, uint8_t *bytes,
				size_t size, const struct segment_plan *plan)
{
	size_t length = segment_build(plan, bytes, size);

	ck_assert_uint_gt(length, 0);
	ck_assert_int_eq(packet_parse(packet, bytes, length), REASON_NONE);
	ck_assert_int_eq(segment_parse(segment, packet), REASON_NONE);
}

/* Runs one case of tests. Returns the exit status of the program. */
static inline int run_case(const char *name, const TTest *const *tests, size_t count)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 120);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tcase, tests[i]);
	return run_tcase(name, tcase);
}

#define RUN_TESTS(name, ...)                                                    \
	int main(void)                                                          \
	{                                                                       \
		const TTest *const tests[] = {__VA_ARGS__};                     \
		return run_case(name, tests, sizeof(tests) / sizeof(tests[0])); \
	}                                                                       \
	_Static_assert(1, "")

#endif
