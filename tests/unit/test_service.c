/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/service.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/token.h"
#include "runner.h"

enum { MANY = 3000 };

static struct endpoint endpoint_number(unsigned int number)
{
	struct endpoint endpoint = {.family = number % 2 != 0 ? FAMILY_IPV4 : FAMILY_IPV6};

	/* Few addresses with many ports each, as administrators have them. */
	endpoint.address[0] = 10;
	endpoint.address[3] = (uint8_t)(number % 7);
	endpoint.port = (uint16_t)(1 + number / 7);
	return endpoint;
}

START_TEST(finds_what_is_there)
{
	static struct service services[MANY];
	static struct service_row rows[MANY];
	size_t count = (size_t)_i;

	for (unsigned int i = 0; i < count; i++)
		rows[i] = (struct service_row){endpoint_number(i), &services[i]};
	struct service_table *table = service_table_new(rows, count);
	ck_assert_ptr_nonnull(table);
	/* The rows were copied. */
	memset(rows, 0, sizeof(rows));
	for (unsigned int i = 0; i < MANY; i++) {
		struct endpoint endpoint = endpoint_number(i);
		ck_assert_ptr_eq(service_table_find(table, &endpoint),
				 i < count ? &services[i] : NULL);
	}
	service_table_free(table);
}
END_TEST

START_TEST(every_field_of_the_destination_counts)
{
	struct service service = {.name = "ssh"};
	struct service_row row = {.service = &service};
	struct endpoint asked;

	ck_assert(endpoint_parse_address(&row.endpoint, "192.0.2.1"));
	row.endpoint.port = 22;
	struct service_table *table = service_table_new(&row, 1);
	ck_assert_ptr_nonnull(table);
	ck_assert_ptr_eq(service_table_find(table, &row.endpoint), &service);
	for (size_t i = 0; i < ADDRESS_SIZE; i++) {
		asked = row.endpoint;
		asked.address[i] ^= 0x80;
		ck_assert_ptr_null(service_table_find(table, &asked));
	}
	asked = row.endpoint;
	asked.port = 23;
	ck_assert_ptr_null(service_table_find(table, &asked));
	asked = row.endpoint;
	asked.family = FAMILY_IPV6;
	ck_assert_ptr_null(service_table_find(table, &asked));
	service_table_free(table);
	service_table_free(NULL);
}
END_TEST

static struct key key_of(const char *text)
{
	struct key key = {0};
	bool truncated;

	snprintf(key.name, sizeof(key.name), "%s", text);
	secret_from_bytes(&key.secret, (const uint8_t *)text, strlen(text), &truncated);
	return key;
}

START_TEST(key_for)
{
	/* The first and the last are the same secret: the first is the one to name. */
	struct key keys[] = {key_of("new"), key_of("current"), key_of("old"), key_of("new")};
	struct key stranger = key_of("stranger");
	bool integrity = _i != 0;
	struct service service = {.integrity = integrity ? 16 : 0, .keys = keys, .key_count = 4};
	struct endpoint destination;

	ck_assert(endpoint_parse_address(&destination, "2001:db8::1"));
	destination.port = 22;
	for (size_t i = 0; i < 5; i++) {
		const struct secret *secret = i < 4 ? &keys[i].secret : &stranger.secret;
		uint32_t isn = integrity ? token_integrity(secret, &destination, 5, 0xabcd)
					 : token_auth(secret, &destination, 5);
		const struct key *expected = i == 4 ? NULL : &keys[i % 3];
		ck_assert_ptr_eq(service_key_for(&service, &destination, 5, isn), expected);
		ck_assert_ptr_null(service_key_for(&service, &destination, 6, isn));
	}
	/* A revoked key is no key. */
	service.key_count = 1;
	uint32_t revoked = token_auth(&keys[1].secret, &destination, 5);
	ck_assert_ptr_null(service_key_for(&service, &destination, 5, revoked));
	/* A token of one mode is none in the other. */
	uint32_t other = integrity ? token_auth(&keys[0].secret, &destination, 5)
				   : token_integrity(&keys[0].secret, &destination, 5, 0xabcd);
	ck_assert_ptr_null(service_key_for(&service, &destination, 5, other));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("service");

	tcase_add_loop_test(tcase, finds_what_is_there, 0, 5);
	tcase_add_loop_test(tcase, finds_what_is_there, 1023, 1026);
	tcase_add_loop_test(tcase, finds_what_is_there, MANY, MANY + 1);
	tcase_add_test(tcase, every_field_of_the_destination_counts);
	tcase_add_loop_test(tcase, key_for, 0, 2);
	return run_tcase("service", tcase);
}
