/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/tuple.h"

#include <check.h>
#include <stdlib.h>

#include "runner.h"

static const struct {
	const char *address;
	uint8_t family;
	uint16_t port;
	const char *formatted;
} good[] = {
	{"192.0.2.1", FAMILY_IPV4, 22, "192.0.2.1:22"},
	{"0.0.0.0", FAMILY_IPV4, 0, "0.0.0.0:0"},
	{"255.255.255.255", FAMILY_IPV4, 65535, "255.255.255.255:65535"},
	{"2001:db8::1", FAMILY_IPV6, 443, "[2001:db8::1]:443"},
	{"::", FAMILY_IPV6, 1, "[::]:1"},
	{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", FAMILY_IPV6, 65535,
	 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"::ffff:255.255.255.255", FAMILY_IPV6, 9, "[::ffff:255.255.255.255]:9"},
};

static const char *const bad[] = {
	"",           "192.0.2",        "192.0.2.256", "192.0.2.1.1",       " 192.0.2.1",
	"192.0.2.1 ", "localhost",      "2001:db8",    "2001:db8:::1",      "[2001:db8::1]",
	"fe80::1%lo", "2001:db8::1/64", "0x7f000001",  "1:2:3:4:5:6:7:8:9",
};

START_TEST(good_addresses)
{
	struct endpoint endpoint;
	char text[ENDPOINT_TEXT_SIZE];

	/* Rubbish in front must not shine through. */
	memset(&endpoint, 0xa5, sizeof(endpoint));
	ck_assert(endpoint_parse_address(&endpoint, good[_i].address));
	ck_assert_uint_eq(endpoint.family, good[_i].family);
	ck_assert_uint_eq(endpoint.port, 0);
	ck_assert_uint_eq(endpoint.reserved, 0);
	for (size_t i = family_address_length(endpoint.family); i < ADDRESS_SIZE; i++)
		ck_assert_uint_eq(endpoint.address[i], 0);
	endpoint.port = good[_i].port;
	ck_assert_str_eq(endpoint_format_address(&endpoint, text), good[_i].address);
	ck_assert_str_eq(endpoint_format(&endpoint, text), good[_i].formatted);
}
END_TEST

START_TEST(bad_addresses)
{
	struct endpoint endpoint;

	ck_assert_msg(!endpoint_parse_address(&endpoint, bad[_i]), "'%s' was accepted", bad[_i]);
	ck_assert_uint_eq(endpoint.family, 0);
}
END_TEST

START_TEST(with_and_without_port)
{
	static const struct {
		const char *text;
		const char *formatted; /* NULL: refused */
	} cases[] = {
		{"192.0.2.1", "192.0.2.1:0"},
		{"192.0.2.1:22", "192.0.2.1:22"},
		{"2001:db8::1", "[2001:db8::1]:0"},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
		{"", NULL},
		{":", NULL},
		{"[", NULL},
		{"[]:1", NULL},
		{"]:1", NULL},
		{"[:1", NULL},
		{"192.0.2.1:", NULL},
		{"192.0.2.1:0", NULL},
		{"192.0.2.1:65536", NULL},
		{"192.0.2.1:+1", NULL},
		{"192.0.2.1:1x", NULL},
		{"192.0.2.1:18446744073709551617", NULL},
		{"[192.0.2.1]:22", NULL},
		{"[2001:db8::1]", NULL},
		{"[2001:db8::1]22", NULL},
		{"2001:db8::1]:22", NULL},
		{"[[2001:db8::1]]:22", NULL},
		{"1111111111111111111111111111111111111111111111111111111111111111:22", NULL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct endpoint endpoint;
		char text[ENDPOINT_TEXT_SIZE];
		bool fine = endpoint_parse(&endpoint, cases[i].text);
		ck_assert_msg(fine == (cases[i].formatted != NULL), "'%s'", cases[i].text);
		if (fine)
			ck_assert_str_eq(endpoint_format(&endpoint, text), cases[i].formatted);
	}
}
END_TEST

START_TEST(comparison_and_reverse)
{
	struct tuple tuple = {0};

	ck_assert(endpoint_parse_address(&tuple.source, "192.0.2.1"));
	ck_assert(endpoint_parse_address(&tuple.destination, "192.0.2.2"));
	tuple.source.port = 1025;
	tuple.destination.port = 22;
	struct tuple reversed = tuple_reverse(&tuple);
	struct tuple again = tuple_reverse(&reversed);
	ck_assert(endpoint_equal(&reversed.source, &tuple.destination));
	ck_assert(endpoint_equal(&reversed.destination, &tuple.source));
	ck_assert(!tuple_equal(&tuple, &reversed));
	ck_assert(tuple_equal(&tuple, &again));
	again.source.port++;
	ck_assert(!tuple_equal(&tuple, &again));
	/* The same bytes in the other family are another address. */
	again = tuple;
	again.source.family = FAMILY_IPV6;
	ck_assert(!tuple_equal(&tuple, &again));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("tuple");

	tcase_set_timeout(tcase, 120);

	tcase_add_loop_test(tcase, good_addresses, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tcase, bad_addresses, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tcase, with_and_without_port);
	tcase_add_test(tcase, comparison_and_reverse);
	return run_tcase("tuple", tcase);
}
