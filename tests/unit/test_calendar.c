/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/calendar.h"

#include <time.h>

#include "support.h"

static int64_t parse(const char *text, bool last_second)
{
	const char *error;
	int64_t seconds = -1;

	ck_assert_msg(calendar_parse(text, last_second, &seconds, &error), "%s: %s", text, error);
	return seconds;
}

START_TEST(known_times)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} cases[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"1970-01-01T01:00:00+01:00", 0},
		{"2000-02-29T12:00:00Z", 951825600},
		{"2026-12-31T23:59:59Z", 1798761599},
		{"2027-01-01T05:29:59+05:30", 1798761599},
		{"2026-12-31T15:59:59-08:00", 1798761599},
		{"2026-12-31t23:59:59z", 1798761599},
		{"2026-12-31 23:59:59Z", 1798761599},
		{"2026-12-31T23:59:59.987654321Z", 1798761599},
		{"2026-12-31T23:59Z", 1798761540},
		{"2016-12-31T23:59:60Z", 1483228800},
		{"9999-12-31T23:59:59Z", 253402300799},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_int_eq(parse(cases[i].text, i % 2 != 0), cases[i].seconds);
	ck_assert_int_eq(parse("2026-12-31", false), 1798761599 - 86399);
	ck_assert_int_eq(parse("2026-12-31", true), 1798761599);
}
END_TEST

START_TEST(refused)
{
	static const char *const cases[] = {
		"",
		"2026",
		"2026-12",
		"26-12-31",
		"2026-13-01",
		"2026-00-01",
		"2026-02-29",
		"2100-02-29",
		"2026-04-31",
		"2026-12-00",
		"1969-12-31",
		"2026-12-31T",
		"2026-12-31T24:00:00Z",
		"2026-12-31T23:60:00Z",
		"2026-12-31T23:59:61Z",
		"2026-12-31T23:59:59",
		"2026-12-31T23Z",
		"2026-12-31T23:59:59+0100",
		"2026-12-31T23:59:59+24:00",
		"2026-12-31T23:59:59+01:60",
		"2026-12-31T23:59:59.Z",
		"2026-12-31T23:59:59Z ",
		"2026-12-31Z",
		"31.12.2026",
		"12/31/2026",
		"2026-1-1",
		"1970-01-01T00:00:00+00:01",
		"2026-12-31X23:59:59Z",
		" 2026-12-31",
		"tomorrow",
		"-026-12-31",
	};
	const char *error;
	int64_t seconds;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		error = NULL;
		ck_assert_msg(!calendar_parse(cases[i], false, &seconds, &error), "%s", cases[i]);
		ck_assert_ptr_nonnull(error);
	}
	calendar_parse("2026-12-31T23:59:59", false, &seconds, &error);
	ck_assert_ptr_nonnull(strstr(error, "zone"));
}
END_TEST

/* Against the C library, over the whole range. */
START_TEST(agrees_with_gmtime)
{
	uint64_t random = 1;

	for (int i = 0; i < 100000; i++) {
		uint64_t number = (uint64_t)random32(&random) << 32 | random32(&random);
		int64_t seconds = (int64_t)(number % 253402300800U);
		char found[CALENDAR_TEXT_SIZE];
		char expected[CALENDAR_TEXT_SIZE];
		time_t libc_time = (time_t)seconds;
		struct tm parts;
		gmtime_r(&libc_time, &parts);
		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &parts);
		ck_assert_str_eq(calendar_format(seconds, found), expected);
		ck_assert_int_eq(parse(found, true), seconds);
	}
}
END_TEST

RUN_TESTS("calendar", known_times, refused, agrees_with_gmtime);
