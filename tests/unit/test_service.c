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

enum { NOW = 1700000000, DAY = 86400 };

static struct tuple tuple_from(const char *source)
{
	struct tuple tuple;

	ck_assert(endpoint_parse_address(&tuple.source, source));
	ck_assert(endpoint_parse_address(&tuple.destination, "2001:db8::1"));
	tuple.source.port = 40000;
	tuple.destination.port = 22;
	return tuple;
}

/* What a client with that secret gets, TSval 5. */
static enum reason judge(const struct service *service, const struct secret *secret,
			 const struct tuple *tuple, int64_t wall, const struct key **key)
{
	uint32_t isn = service->integrity > 0
			       ? token_integrity(secret, &tuple->destination, 5, 0xabcd)
			       : token_auth(secret, &tuple->destination, 5);

	return service_judge_token(service, tuple, 5, isn, wall, key);
}

START_TEST(judge_token)
{
	/* The first and the last are the same secret: the first is the one to name. */
	struct key keys[] = {key_of("new"), key_of("current"), key_of("old"), key_of("new")};
	struct key stranger = key_of("stranger");
	bool integrity = _i != 0;
	struct service service = {.integrity = integrity ? 16 : 0, .keys = keys, .key_count = 4};
	struct tuple tuple = tuple_from("198.51.100.1");
	const struct key *key;

	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(judge(&service, &keys[i].secret, &tuple, NOW, &key),
				 REASON_TOKEN_VALID);
		ck_assert_ptr_eq(key, &keys[i % 3]);
	}
	ck_assert_int_eq(judge(&service, &stranger.secret, &tuple, NOW, &key), REASON_TOKEN_WRONG);
	ck_assert_ptr_null(key);
	/* Another TSval than the one of the token. */
	uint32_t isn = token_auth(&keys[0].secret, &tuple.destination, 5);
	ck_assert_int_eq(service_judge_token(&service, &tuple, 6, isn, NOW, &key),
			 REASON_TOKEN_WRONG);
	/* A revoked key is no key. */
	service.key_count = 1;
	ck_assert_int_eq(judge(&service, &keys[1].secret, &tuple, NOW, &key), REASON_TOKEN_WRONG);
	/* A token of one mode is none in the other. */
	uint32_t other = integrity
				 ? token_auth(&keys[0].secret, &tuple.destination, 5)
				 : token_integrity(&keys[0].secret, &tuple.destination, 5, 0xabcd);
	ck_assert_int_eq(service_judge_token(&service, &tuple, 5, other, NOW, &key),
			 REASON_TOKEN_WRONG);
}
END_TEST

/* The linker puts this in place of Nettle's (--wrap), see local.mk. */
static unsigned int blocks;
void __real_nettle_md5_compress(uint32_t *state, const uint8_t *block);
void __wrap_nettle_md5_compress(uint32_t *state, const uint8_t *block);
void __wrap_nettle_md5_compress(uint32_t *state, const uint8_t *block)
{
	blocks++;
	__real_nettle_md5_compress(state, block);
}

/* Whichever key fits, and whether or not it may be used: k keys are k blocks. */
START_TEST(every_key_costs_one_block)
{
	enum { KEYS = 20 };
	static struct prefix source = {.base.family = FAMILY_IPV4, .length = 32};
	struct key keys[KEYS];
	struct service service = {.integrity = (uint16_t)_i, .keys = keys};
	struct tuple tuple = tuple_from("198.51.100.1");
	const struct key *key;

	for (size_t i = 0; i < KEYS; i++) {
		char text[8];
		snprintf(text, sizeof(text), "%zu", i);
		keys[i] = key_of(text);
		keys[i].not_after = i % 4 == 1 ? NOW - 1 : 0;
		keys[i].not_before = i % 4 == 2 ? NOW + 1 : 0;
		keys[i].sources = &source;
		keys[i].source_count = i % 4 == 3;
	}
	for (service.key_count = 1; service.key_count <= KEYS; service.key_count++) {
		for (uint32_t i = 0; i <= service.key_count; i++) {
			uint32_t isn = i < service.key_count
					       ? token_auth(&keys[i].secret, &tuple.destination, 5)
					       : 12345;
			blocks = 0;
			service_judge_token(&service, &tuple, 5, isn, NOW, &key);
			ck_assert_uint_eq(blocks, service.key_count);
		}
	}
}
END_TEST

/* Behind a NAT the token is made for what stood on the wire in front of it. */
START_TEST(public_destination)
{
	struct key key_pair[] = {key_of("one")};
	struct service service = {.keys = key_pair, .key_count = 1};
	struct tuple here = tuple_from("198.51.100.1");
	struct tuple outside = here;
	const struct key *key;

	ck_assert(endpoint_parse_address(&outside.destination, "2001:db8::2"));
	outside.destination.port = 2222;
	uint32_t isn = token_auth(&key_pair[0].secret, &outside.destination, 5);
	ck_assert_int_eq(service_judge_token(&service, &here, 5, isn, NOW, &key),
			 REASON_TOKEN_WRONG);
	service.public[1] = outside.destination;
	ck_assert_int_eq(service_judge_token(&service, &here, 5, isn, NOW, &key),
			 REASON_TOKEN_VALID);
	/* Without a port of its own it is the one that is used here; and the other family keeps
	 * its addresses. */
	service.public[1].port = 0;
	outside.destination.port = here.destination.port;
	struct endpoint public = service_public(&service, &here.destination);
	ck_assert(endpoint_equal(&public, &outside.destination));
	ck_assert(endpoint_parse_address(&here.destination, "192.0.2.1"));
	public = service_public(&service, &here.destination);
	ck_assert(endpoint_equal(&public, &here.destination));
}
END_TEST

START_TEST(validity_of_a_key)
{
	struct key keys[] = {key_of("first"), key_of("limited")};
	struct service service = {.keys = keys, .key_count = 2};
	struct tuple tuple = tuple_from("198.51.100.1");
	const struct key *key;
	const struct {
		int64_t wall;
		enum reason expected;
	} times[] = {
		{NOW - 1, REASON_KEY_EARLY},     {NOW, REASON_TOKEN_VALID},
		{NOW + DAY, REASON_TOKEN_VALID}, {NOW + DAY + 1, REASON_KEY_EXPIRED},
		{0, REASON_KEY_EARLY},
	};

	keys[1].not_before = NOW;
	keys[1].not_after = NOW + DAY;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		ck_assert_int_eq(judge(&service, &keys[1].secret, &tuple, times[i].wall, &key),
				 times[i].expected);
		ck_assert_ptr_eq(key, &keys[1]);
		ck_assert_int_eq(judge(&service, &keys[0].secret, &tuple, times[i].wall, &key),
				 REASON_TOKEN_VALID);
	}
}
END_TEST

START_TEST(sources_of_a_key)
{
	struct prefix sources[] = {{.length = 24}, {.length = 45}};
	struct key keys[] = {key_of("limited"), key_of("free")};
	struct service service = {.keys = keys, .key_count = 2};
	const struct key *key;
	static const struct {
		const char *source;
		enum reason expected;
	} cases[] = {
		{"198.51.100.1", REASON_TOKEN_VALID},  {"198.51.100.255", REASON_TOKEN_VALID},
		{"198.51.101.0", REASON_KEY_SOURCE},   {"198.51.99.255", REASON_KEY_SOURCE},
		{"2001:db8:8::1", REASON_TOKEN_VALID}, {"2001:db8:f:ffff::", REASON_TOKEN_VALID},
		{"2001:db8:10::", REASON_KEY_SOURCE},  {"2001:db8:7:ffff::1", REASON_KEY_SOURCE},
		{"c633:6401::", REASON_KEY_SOURCE},
	};

	ck_assert(endpoint_parse_address(&sources[0].base, "198.51.100.0"));
	ck_assert(endpoint_parse_address(&sources[1].base, "2001:db8:8::"));
	keys[0].sources = sources;
	keys[0].source_count = 2;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tuple tuple = tuple_from(cases[i].source);
		ck_assert_int_eq(judge(&service, &keys[0].secret, &tuple, NOW, &key),
				 cases[i].expected);
		ck_assert_int_eq(judge(&service, &keys[1].secret, &tuple, NOW, &key),
				 REASON_TOKEN_VALID);
	}
	/* The same secret without the limit, further down: that one opens. */
	keys[1].secret = keys[0].secret;
	struct tuple tuple = tuple_from("203.0.113.1");
	ck_assert_int_eq(judge(&service, &keys[0].secret, &tuple, NOW, &key), REASON_TOKEN_VALID);
	ck_assert_ptr_eq(key, &keys[1]);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("service");

	tcase_set_timeout(tcase, 120);

	tcase_add_loop_test(tcase, finds_what_is_there, 0, 5);
	tcase_add_loop_test(tcase, finds_what_is_there, 1023, 1026);
	tcase_add_loop_test(tcase, finds_what_is_there, MANY, MANY + 1);
	tcase_add_test(tcase, every_field_of_the_destination_counts);
	tcase_add_loop_test(tcase, judge_token, 0, 2);
	tcase_add_loop_test(tcase, every_key_costs_one_block, 0, 2);
	tcase_add_test(tcase, public_destination);
	tcase_add_test(tcase, validity_of_a_key);
	tcase_add_test(tcase, sources_of_a_key);
	return run_tcase("service", tcase);
}
