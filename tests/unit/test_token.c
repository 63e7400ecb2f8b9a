/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/token.h"

#include "support.h"

static struct secret secret_of(const char *text)
{
	struct secret secret;
	bool truncated;

	secret_from_bytes(&secret, (const uint8_t *)text, strlen(text), &truncated);
	return secret;
}

/* Values of the author's own generator. */
START_TEST(test_reference_values)
{
	static const struct {
		const char *address;
		uint32_t auth, integrity;
	} rows[] = {
		{"2001:db8::2a:2a", 0x4923a842, 0x3ae5ff96},
		{"192.18.42.42", 0xedea1325, 0x2153ff96},
	};
	static const char payload[] = "Protected payload goes here.";
	struct secret secret = secret_of("Magic secret string");

	for (size_t i = 0; i < 2; i++) {
		struct endpoint to = make_endpoint(rows[i].address, 4242);
		uint16_t hash = token_payload_hash(&secret, (const uint8_t *)payload, 28);

		ck_assert_uint_eq(token_auth(&secret, &to, 0x11223344), rows[i].auth);
		ck_assert_uint_eq(token_integrity(&secret, &to, 0x11223344, hash),
				  rows[i].integrity);
	}
}
END_TEST

static void check_vector(char *line)
{
	uint8_t bytes[65536];
	char *column[7];
	struct secret secret;
	bool truncated;

	line[strcspn(line, "\n")] = '\0';
	for (size_t i = 0; i < 7; i++)
		ck_assert_ptr_nonnull(column[i] = strsep(&line, "\t"));
	struct endpoint to = make_endpoint(column[1], (uint16_t)atoi(column[2]));
	uint32_t tsval = (uint32_t)strtoul(column[3], NULL, 16);
	uint32_t expected = (uint32_t)strtoul(column[6], NULL, 16);
	size_t length = unhex(bytes, sizeof(bytes), column[4]);
	secret_from_bytes(&secret, bytes, length, &truncated);
	length = unhex(bytes, sizeof(bytes), column[5]);
	uint32_t isn = length == 0 ? token_auth(&secret, &to, tsval)
				   : token_integrity(&secret, &to, tsval,
						     token_payload_hash(&secret, bytes, length));
	ck_assert_uint_eq(isn, expected);
	ck_assert(token_check(&secret, &to, tsval, isn, length > 0));
	/* A changed bit is noticed wherever it is: in integrity mode the low half is the hash
	 * itself, but it goes into the high half as well. */
	for (int bit = 0; bit < 32; bit++)
		ck_assert(!token_check(&secret, &to, tsval, isn ^ 1U << bit, length > 0));
}

START_TEST(test_vectors)
{
	FILE *stream = fopen(data_path("vectors.tsv"), "r");
	char *line = NULL;
	size_t room = 0;
	int count = 0;

	ck_assert_ptr_nonnull(stream);
	ck_assert_int_gt(getline(&line, &room, stream), 0);
	for (; getline(&line, &room, stream) > 0; count++)
		check_vector(line);
	ck_assert_int_eq(count, 400);
	free(line);
	fclose(stream);
}
END_TEST

START_TEST(test_everything_matters)
{
	struct secret secret = secret_of("secret");
	struct secret other = secret_of("secreT");
	struct endpoint to = make_endpoint("192.0.2.1", 22);
	struct endpoint port = make_endpoint("192.0.2.1", 23);
	struct endpoint address = make_endpoint("192.0.2.2", 22);
	uint32_t isn = token_auth(&secret, &to, 7);

	ck_assert(token_check(&secret, &to, 7, isn, false));
	ck_assert(!token_check(&other, &to, 7, isn, false));
	ck_assert(!token_check(&secret, &port, 7, isn, false));
	ck_assert(!token_check(&secret, &address, 7, isn, false));
	ck_assert(!token_check(&secret, &to, 8, isn, false));
}
END_TEST

START_TEST(test_constant_time_comparison)
{
	uint64_t seed = 1;

	ck_assert(token_equal32(0, 0) && token_equal32(UINT32_MAX, UINT32_MAX));
	for (int i = 0; i < 100000; i++) {
		uint32_t left = random32(&seed);
		uint32_t right = i % 2 ? left : left ^ 1U << (i / 2 % 32);
		ck_assert(token_equal32(left, right) == (left == right));
		ck_assert(token_equal16((uint16_t)left, (uint16_t)right) ==
			  ((uint16_t)left == (uint16_t)right));
	}
}
END_TEST

RUN_TESTS("token", test_reference_values, test_vectors, test_everything_matters,
	  test_constant_time_comparison);
